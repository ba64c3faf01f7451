#include "executor/calibrate/measure_device.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <limits>

#include "executor/calibrate/kernel_work.h"
#include "planner/program/expand.h"

namespace meshplan::executor {
namespace {

using planner::Axis;
using planner::KernelKind;
using planner::StepContext;

/// The largest multiply of a block, so that all fit into a minute on one core; larger ones of the
/// head, and of blocks that are as large with the fewest tokens, are left out from kLeftOut times
/// as many on.
constexpr double kMostFlopsOnCpu = 8e9;
constexpr double kMostFlopsOnGpu = 8e12;
constexpr double kLeftOut = 4;
constexpr std::int64_t kLeastTokens = 128;
/// Width up to which twice the width is measured as well.
constexpr std::int64_t kWidestDoubled = 1024;
/// Compute between two collectives lasts at least so long.
constexpr double kBetweenCollectives = 2e-3;

/// A training step whose kernels are measured, by layout.
StepContext context_of(const MeasuredJob& measured, planner::DeviceKind kind) {
  return planner::make_step_context(measured.model, measured.job, measured.layout, kind);
}

double most_flops(planner::DeviceKind kind) {
  return kind == planner::DeviceKind::kCpu ? kMostFlopsOnCpu : kMostFlopsOnGpu;
}

/// Of a block.
double largest_multiply(const StepContext& c) {
  return 4.0 * static_cast<double>(c.tokens) * static_cast<double>(c.model.hidden_size) *
         static_cast<double>(c.intermediate);
}

/// Without multiplies that are too large; the smallest is there in any case.
std::vector<KernelWork> measured_kernels(const StepContext& context, at::ScalarType type,
                                         at::Device device) {
  std::vector<KernelWork> works = step_kernels(context, type, device);
  const auto flops_of = [](const KernelWork& work) {
    return work.operation.kernel == KernelKind::kMatmul ? work.operation.flops.value : 0;
  };
  double smallest = std::numeric_limits<double>::infinity();
  for (const KernelWork& work : works) {
    if (flops_of(work) > 0) smallest = std::min(smallest, flops_of(work));
  }
  const double most = std::max(smallest, kLeftOut * most_flops(context.device));
  std::erase_if(works, [&](const KernelWork& work) { return flops_of(work) > most; });
  return works;
}

MeasuredJob with_fewer_tokens(MeasuredJob measured, planner::DeviceKind kind) {
  const double most = most_flops(kind);
  std::int64_t& sequences = measured.layout.microbatch_size;
  std::int64_t& sequence = measured.job.seq_length;
  while (largest_multiply(context_of(measured, kind)) > most && sequence > kLeastTokens) {
    if (sequences > 1) {
      sequences /= 2;
    } else {
      sequence /= 2;
    }
  }
  return measured;
}

MeasuredJob with_longer_sequences(MeasuredJob measured) {
  measured.layout.mesh.sizes = planner::AxisSizes();
  std::int64_t& sequence = measured.job.seq_length;
  sequence = std::max(sequence, std::min(4 * sequence, measured.model.max_position_embeddings));
  return measured;
}

MeasuredJob twice_as_wide(MeasuredJob measured) {
  measured.layout.mesh.sizes = planner::AxisSizes();
  measured.model.hidden_size *= 2;
  measured.model.head_dim *= 2;
  measured.model.intermediate_size *= 2;
  return measured;
}

/// Sums over the kernels of one sort.
struct Total {
  double amount = 0;
  double seconds = 0;

  void add(const KernelWork& work, double done, double seconds_each) {
    amount += work.share * done;
    seconds += work.share * seconds_each;
  }
  double rate() const { return amount / seconds; }
};

class DeviceMeasurement {
 public:
  DeviceMeasurement(const RankTimer& timer, at::Device device)
      : timer_(timer), device_(device), launch_(timer.seconds_alone(smallest_kernel(device))) {}

  void add(const StepContext& context, at::ScalarType type) {
    for (const KernelWork& work : measured_kernels(context, type, device_)) {
      const double seconds = timer_.seconds_alone(work.run);
      const double beyond = std::max(seconds - launch_, 0.01 * seconds);
      spdlog::debug("{:<32} x {:<6.4g} {:10.1f} us {:8.2f} GFLOP/s {:8.2f} GB/s",
                    work.operation.name, work.share, seconds * 1e6,
                    work.operation.flops.value / seconds * 1e-9,
                    static_cast<double>(work.operation.bytes.value) / seconds * 1e-9);
      switch (work.operation.kernel) {
        case KernelKind::kMatmul:
          multiplies_.push_back({work.operation.flops.value, seconds});
          break;
        case KernelKind::kAttention:
          attention_.add(work, work.operation.flops.value, beyond);
          break;
        default:
          elementwise_.add(work, static_cast<double>(work.operation.bytes.value), beyond);
      }
    }
  }

  /// Only the multiplies, whose rate is returned.
  double multiply_rate(const StepContext& context, at::ScalarType type) const {
    std::vector<Measurement> multiplies;
    for (const KernelWork& work : measured_kernels(context, type, device_)) {
      if (work.operation.kernel == KernelKind::kMatmul)
        multiplies.push_back({work.operation.flops.value, timer_.seconds_alone(work.run)});
    }
    return fit_line(multiplies).rate;
  }

  /// The rate of matrix multiplies, and what each costs beyond its FLOPs.
  LineFit multiplies() const { return fit_line(multiplies_); }
  double launch() const { return launch_; }
  double attention_rate() const { return attention_.rate(); }
  double memory_bandwidth() const { return elementwise_.rate(); }

 private:
  const RankTimer& timer_;
  at::Device device_;
  double launch_;
  std::vector<Measurement> multiplies_;
  Total attention_;
  Total elementwise_;
};

/// The smallest multiply of a step, repeated until it lasts long enough.
ComputeWork block_work(const RankTimer& timer, const StepContext& context, at::ScalarType type,
                       at::Device device) {
  KernelWork smallest;
  for (KernelWork& work : measured_kernels(context, type, device)) {
    if (work.operation.kernel != KernelKind::kMatmul) continue;
    if (!smallest.run || work.operation.flops.value < smallest.operation.flops.value)
      smallest = std::move(work);
  }
  const double once = timer.seconds_alone(smallest.run);
  const int repeats = std::max(1, static_cast<int>(kBetweenCollectives / once));
  return [run = smallest.run, repeats] {
    for (int i = 0; i < repeats; ++i) run();
  };
}

}  // namespace

ComputeWork measure_device(const RankTimer& timer, const MeasuredJob& measured, at::Device device,
                           planner::DeviceSpec& spec) {
  const at::ScalarType type = device.is_cpu() ? at::kFloat : at::kBFloat16;
  const at::ScalarType other = device.is_cpu() ? at::kBFloat16 : at::kFloat;
  std::vector<MeasuredJob> jobs = {measured, with_longer_sequences(measured)};
  if (measured.model.hidden_size <= kWidestDoubled) jobs.push_back(twice_as_wide(measured));

  DeviceMeasurement measurement(timer, device);
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    jobs[i] = with_fewer_tokens(jobs[i], spec.kind);
    const StepContext context = context_of(jobs[i], spec.kind);
    spdlog::info("kernels of a step, {} of {}: {} tokens, hidden size {}, {} of the feed-forward",
                 i + 1, jobs.size(), context.tokens, context.model.hidden_size,
                 context.intermediate);
    measurement.add(context, type);
  }
  const StepContext context = context_of(jobs.front(), spec.kind);
  spdlog::info("matrix multiplies in {}", device.is_cpu() ? "bfloat16" : "float32");
  const double other_rate = measurement.multiply_rate(context, other);

  const LineFit multiplies = measurement.multiplies();
  (device.is_cpu() ? spec.float32_peak : spec.bfloat16_peak) =
      common::FlopsPerSecond(multiplies.rate);
  (device.is_cpu() ? spec.bfloat16_peak : spec.float32_peak) = common::FlopsPerSecond(other_rate);
  // A multiply costs its FLOPs and half_flops more at the full rate: what it costs beyond any
  // kernel's launch.
  const double beyond = std::max(0.0, multiplies.fixed - measurement.launch());
  spec.matmul = {.ceiling = 1.0, .half_flops = common::Flops(beyond * multiplies.rate)};
  spec.attention_rate = common::FlopsPerSecond(measurement.attention_rate());
  spec.launch_overhead = common::Seconds(measurement.launch());
  spec.memory_bandwidth = common::BytesPerSecond(measurement.memory_bandwidth());
  return block_work(timer, context, type, device);
}

}  // namespace meshplan::executor
