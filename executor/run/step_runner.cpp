#include "executor/run/step_runner.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <initializer_list>
#include <utility>

#include "common/error.h"

namespace meshplan::executor {
namespace {

using planner::Axis;
using planner::Instruction;
using planner::Opcode;

planner::DeviceKind kind_of(at::Device device) {
  return device.is_cpu() ? planner::DeviceKind::kCpu : planner::DeviceKind::kGpu;
}

}  // namespace

StepRunner::StepRunner(const planner::Plan& plan, std::int64_t rank,
                       MeshCommunicators& communicators, at::Device device)
    : context_(planner::make_step_context(plan.model, plan.job, plan.layout, kind_of(device))),
      communicators_(communicators),
      device_(device),
      coordinates_(planner::coordinates_of(plan.layout.mesh, rank)),
      sharding_(context_, communicators[Axis::kDpShard], communicators[Axis::kDpReplicate], device),
      program_(planner::unroll(planner::build_program(plan.model, plan.job, plan.layout))),
      scales_loss_(plan.job.param_dtype == common::DataType::kFloat16) {
  for (std::int64_t unit = 0; unit < planner::unit_count(plan.model); ++unit) {
    units_.push_back(sharding_.make_unit(unit));
  }
  computations_ = make_computations({.context = context_,
                                     .sharding = sharding_,
                                     .units = units_,
                                     .tp = communicators[Axis::kTp],
                                     .tp_rank = coordinates_[Axis::kTp],
                                     .device = device});
}

StepResult StepRunner::run(const std::vector<Batch>& microbatches, const AdamwOptions& adamw,
                           std::int64_t step, TraceRecorder& trace) {
  microbatches_ = &microbatches;
  adamw_ = adamw;
  step_ = step;
  result_ = {};
  for (const Batch& batch : microbatches) result_.tokens += batch.label_count;
  for (const Instruction& instruction : program_) {
    const auto slice = trace.compute(context_.model, instruction);
    execute(instruction);
  }
  microbatches_ = nullptr;
  return result_;
}

void StepRunner::execute(const Instruction& instruction) {
  switch (instruction.opcode) {
    case Opcode::kCountTokens:
      return count_tokens();
    case Opcode::kGatherParameters:
      return sharding_.gather(unit_of(instruction));
    case Opcode::kReleaseParameters:
      return sharding_.release(unit_of(instruction));
    case Opcode::kForward:
      return computations_->forward(instruction, batch_of(instruction));
    case Opcode::kBackward:
      return computations_->backward(instruction, batch_of(instruction));
    case Opcode::kLoss:
      retire(instruction);
      return loss(instruction);
    case Opcode::kReduceReplicatedGradients:
      return reduce_replicated(instruction);
    case Opcode::kReduceGradients:
      retire(instruction);
      return sharding_.reduce(unit_of(instruction), instruction.place);
    case Opcode::kSumReplicas:
      retire(instruction);
      return sharding_.sum_replicas(unit_of(instruction));
    case Opcode::kGradientNorm:
      retire(instruction);
      return gradient_norm();
    case Opcode::kClipGradients:
      return clip_gradients();
    case Opcode::kOptimizerStep:
      return optimizer_step();
    case Opcode::kReportLoss:
      return report_loss();
    case Opcode::kReduceTiedGradients:
    case Opcode::kSendActivations:
    case Opcode::kReceiveActivations:
      throw common::Error(common::ErrorCode::kInternal,
                          std::string(planner::to_string(instruction.opcode)) +
                              ": the executor has no pipeline axis",
                          "step program");
  }
}

template <class Number>
Number StepRunner::sum_over(std::initializer_list<Axis> axes, Number value) {
  const at::Tensor sum = at::full(
      {1}, value, at::TensorOptions(c10::CppTypeToScalarType<Number>::value).device(device_));
  for (Axis axis : axes) communicators_[axis].all_reduce(sum, ReduceOp::kSum).wait();
  return sum.item<Number>();
}

void StepRunner::count_tokens() {
  result_.tokens = sum_over({Axis::kDpShard, Axis::kDpReplicate}, result_.tokens);
}

void StepRunner::loss(const Instruction& instruction) {
  const Batch& batch = batch_of(instruction);
  const double weight = computations_->loss_weight(batch, result_.tokens);
  result_.loss += computations_->loss(instruction, batch, weight * scale()) * weight;
}

void StepRunner::reduce_replicated(const Instruction& instruction) {
  const planner::FlatRange& range = context_.sizes_of(instruction.unit).replicated_gradients;
  const at::Tensor gradients = unit_of(instruction).gradient.slice(0, range.begin, range.end);
  communicators_[Axis::kTp].all_reduce(gradients, ReduceOp::kSum).wait();
}

void StepRunner::retire(const Instruction& instruction) {
  if (instruction.retires == planner::kNoUnit) return;
  sharding_.retire(units_[static_cast<std::size_t>(instruction.retires)]);
}

void StepRunner::gradient_norm() {
  for (ShardedUnit& unit : units_) sharding_.wait_summed(unit);
  const double squares =
      squared_gradient_norm(units_, coordinates_[Axis::kDpShard], coordinates_[Axis::kTp])
          .item<double>();
  result_.gradient_norm = std::sqrt(sum_over({Axis::kDpShard, Axis::kTp}, squares)) / scale();
  result_.updated = std::isfinite(result_.gradient_norm);
  if (!result_.updated && !scales_loss_) {
    throw common::Error(common::ErrorCode::kDiverged,
                        fmt::format("the gradient norm is {} at step {}; nothing was updated. "
                                    "Lower the learning rate, clip "
                                    "gradients (--max-grad-norm) or look at this step's data",
                                    result_.gradient_norm, step_ - 1),
                        "training");
  }
}

void StepRunner::clip_gradients() {
  if (!result_.updated) return;
  const double limit = context_.job.max_grad_norm;
  // As torch's clip_grad_norm_: the small term keeps a norm of 0 from dividing.
  const double clip = limit > 0 ? std::min(1.0, limit / (result_.gradient_norm + 1e-6)) : 1.0;
  if (clip / scale() != 1) scale_gradients(units_, clip / scale());
}

void StepRunner::optimizer_step() {
  if (result_.updated)
    adamw_step(units_, coordinates_[Axis::kDpShard], adamw_, step_ - loss_scale_.skipped);
  for (ShardedUnit& unit : units_) unit.gradient_slice.reset();
  if (scales_loss_) loss_scale_ = next_scale(loss_scale_, result_.updated);
}

void StepRunner::report_loss() {
  result_.loss = sum_over({Axis::kDpShard, Axis::kDpReplicate}, result_.loss);
}

double StepRunner::evaluate(std::int64_t count,
                            const std::function<Batch(std::int64_t)>& batch_at) {
  const CollectiveLog::Pause pause(communicators_.log());
  double loss = 0;
  std::int64_t labels = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const Batch batch = batch_at(i);
    loss += computations_->evaluate(batch);
    labels += batch.label_count;
  }
  loss = sum_over({Axis::kDpShard, Axis::kDpReplicate}, loss);
  labels = sum_over({Axis::kDpShard, Axis::kDpReplicate}, labels);
  return loss / static_cast<double>(std::max<std::int64_t>(1, labels));
}

}  // namespace meshplan::executor
