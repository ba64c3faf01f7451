#include "benchmarks/fit_runtimes/fit.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <unsupported/Eigen/NonLinearOptimization>

#include "planner/validate/validation.h"

namespace meshplan::benchmarks {
namespace {

constexpr double kSoft = 0.03;
/// Of a collective alone: training sees others' traffic, too.
constexpr double kCollectiveWeight = 0.2;

/// Grows with the logarithm of a large error: an incident does not count for more.
double softened(double error) {
  const double scaled = error / kSoft;
  return std::copysign(std::sqrt(std::log1p(scaled * scaled)), scaled);
}

double time_error(const planner::MeasuredRun& run, const planner::PeerEstimate& predicted) {
  const auto error = planner::errors_of(run, predicted).throughput;
  return error ? -std::log1p(*error) : 0;
}

double memory_error(const planner::MeasuredRun& run, const planner::PeerEstimate& predicted) {
  const auto error = planner::errors_of(run, predicted).memory;
  if (error) return std::log1p(*error);
  if (run.peak_memory_gib) return 0;
  const double capacity = static_cast<double>(run.run->hardware.gpu->memory.value);
  const double peak = static_cast<double>(predicted.peak_reserved.value);
  return std::max(0.0, std::log(peak / (0.97 * capacity)));
}

double residual(const MeasuredCollective& measured) {
  const common::Seconds time =
      planner::collective_time(measured.hardware, measured.kind, measured.bytes, measured.group);
  return std::sqrt(kCollectiveWeight) * softened(std::log(time.value / measured.time.value));
}

/// Residuals of runs, of collectives, then of priors; the variables are logarithms of constants.
class Problem {
 public:
  Problem(std::vector<Constant> constants, Quantity quantity, Measurements measurements)
      : constants_(std::move(constants)),
        quantity_(quantity),
        runs_(std::move(measurements.runs)),
        collectives_(std::move(measurements.collectives)) {}

  int inputs() const { return static_cast<int>(constants_.size()); }
  int values() const { return static_cast<int>(runs_.size() + collectives_.size()) + inputs(); }

  int operator()(const Eigen::VectorXd& x, Eigen::VectorXd& residuals) const {
    set(x);
    Eigen::Index row = 0;
    for (const WeighedRun& run : runs_) residuals[row++] = residual_of(run);
    for (const MeasuredCollective& measured : collectives_) residuals[row++] = residual(measured);
    for (int c = 0; c < inputs(); ++c)
      residuals[row++] = (x[c] - std::log(of(c).prior)) / of(c).deviation;
    return 0;
  }

  /// By differences; a constant moves the rows of its runtimes only.
  int df(const Eigen::VectorXd& x, Eigen::MatrixXd& jacobian) const {
    constexpr double kStep = 1e-4;
    Eigen::VectorXd here(values());
    (*this)(x, here);
    jacobian.setZero();
    for (int c = 0; c < inputs(); ++c) {
      of(c).set(std::exp(x[c] + kStep));
      Eigen::Index row = 0;
      for (const WeighedRun& run : runs_) {
        if (moves(of(c), run)) jacobian(row, c) = (residual_of(run) - here[row]) / kStep;
        ++row;
      }
      for (const MeasuredCollective& measured : collectives_) {
        jacobian(row, c) = (residual(measured) - here[row]) / kStep;
        ++row;
      }
      of(c).set(std::exp(x[c]));
      jacobian(row + c, c) = 1 / of(c).deviation;
    }
    return 0;
  }

  void set(const Eigen::VectorXd& x) const {
    for (int c = 0; c < inputs(); ++c) of(c).set(std::exp(x[c]));
  }

 private:
  const Constant& of(int index) const { return constants_[static_cast<std::size_t>(index)]; }

  static bool moves(const Constant& constant, const WeighedRun& run) {
    return constant.runtimes.empty() ||
           std::find(constant.runtimes.begin(), constant.runtimes.end(), run.measured.runtime) !=
               constant.runtimes.end();
  }

  double residual_of(const WeighedRun& run) const {
    const planner::PeerEstimate predicted = planner::estimate(*run.measured.run);
    if (quantity_ == Quantity::kTime)
      return std::sqrt(run.time_weight) * softened(time_error(run.measured, predicted));
    return std::sqrt(run.memory_weight) * softened(memory_error(run.measured, predicted));
  }

  std::vector<Constant> constants_;
  Quantity quantity_;
  std::vector<WeighedRun> runs_;
  std::vector<MeasuredCollective> collectives_;
};

}  // namespace

void fit(FittedModel& model, Quantity quantity, Measurements measurements, int evaluations) {
  std::erase_if(measurements.runs, [&](const WeighedRun& run) {
    return (quantity == Quantity::kTime ? run.time_weight : run.memory_weight) <= 0;
  });
  if (quantity == Quantity::kMemory) measurements.collectives.clear();
  for (WeighedRun& run : measurements.runs) model.adopt(*run.measured.run);
  for (MeasuredCollective& measured : measurements.collectives) model.adopt(measured.hardware);
  Problem problem(model.constants(quantity), quantity, std::move(measurements));
  Eigen::VectorXd x(problem.inputs());
  const std::vector<Constant> constants = model.constants(quantity);
  for (std::size_t c = 0; c < constants.size(); ++c)
    x[static_cast<Eigen::Index>(c)] = std::log(constants[c].value());
  Eigen::LevenbergMarquardt<Problem> solver(problem);
  solver.parameters.maxfev = evaluations;
  solver.parameters.ftol = 1e-4;
  solver.parameters.xtol = 1e-4;
  solver.parameters.factor = 1;
  solver.minimize(x);
  problem.set(x);
}

}  // namespace meshplan::benchmarks
