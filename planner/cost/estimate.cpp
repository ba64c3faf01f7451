#include "planner/cost/estimate.h"

#include "planner/model/feed_forward_model.h"
#include "planner/model/parameter_table.h"
#include "planner/program/feed_forward.h"

namespace meshplan::planner {
namespace {

/// Reserved over allocated memory of torch's caching allocator on GPUs, from published eager runs;
/// CPUs allocate exactly.
constexpr double kGpuAllocatorSlack = 1.11;

MemoryEstimate estimate_memory(const StepContext& context, const ClusterSpec& cluster,
                               const PricedProgram& program) {
  const MemoryPeak peak = memory_peak(context, program);
  MemoryEstimate memory;
  memory.breakdown = peak.breakdown;
  memory.peak_allocated = total(peak.breakdown);
  const double slack = cluster.device.kind == DeviceKind::kGpu ? kGpuAllocatorSlack : 1.0;
  memory.peak_reserved = common::Bytes(
      static_cast<std::int64_t>(static_cast<double>(memory.peak_allocated.value) * slack));
  memory.peak_device = memory.peak_reserved + cluster.reserved_memory;
  memory.capacity = cluster.device.memory;
  memory.peak_instruction = describe(context.model, peak.instruction);
  return memory;
}

common::Flops count_flops(const PricedProgram& program) {
  common::Flops flops;
  for (const PricedPhase& phase : program.phases) {
    for (const PricedSegment& segment : phase.segments) {
      for (const PricedInstruction& instruction : segment.instructions) {
        for (const PricedOperation& step : *instruction.operations) {
          flops += static_cast<double>(phase.count * segment.count) * step.operation.flops;
        }
      }
    }
  }
  return flops;
}

common::Flops model_flops(const StepContext& context) {
  const ModelSpec& model = context.model;
  if (is_feed_forward(model)) return feed_forward_flops(context);
  // The embedding is a look-up; a tied one multiplies once, as the head.
  const std::int64_t lookup = model.tie_word_embeddings ? 0 : model.vocab_size * model.hidden_size;
  const auto parameters = static_cast<double>(parameter_count(model) - lookup);
  const double attention = 12.0 * static_cast<double>(model.num_hidden_layers) *
                           static_cast<double>(model.num_attention_heads * model.head_dim) *
                           static_cast<double>(context.job.seq_length);
  const auto tokens = static_cast<double>(context.tokens * context.layout.accumulation);
  return common::Flops((6.0 * parameters + attention) * tokens /
                       static_cast<double>(context.layout.mesh.sizes[Axis::kTp]));
}

FirstOrderVolumes first_order_volumes(const StepContext& context) {
  const ModelSpec& model = context.model;
  return {.tp_activations =
              common::Bytes(model.num_hidden_layers * model.hidden_size * context.tokens * 2 * 2),
          .fsdp_parameters = common::Bytes(parameter_count(model) * 2)};
}

}  // namespace

Estimate estimate(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                  const Layout& layout) {
  Estimate result;
  result.violations = violations(model, cluster, job, layout);
  if (!result.violations.empty()) return result;
  const StepContext context = make_step_context(model, job, layout, cluster.device.kind);
  const PricedProgram program = price_program(context, cluster, build_program(model, job, layout));
  result.memory = estimate_memory(context, cluster, program);
  result.fits = result.memory.peak_device <= result.memory.capacity;
  result.traffic = count_traffic(layout.mesh, program);
  const StepTimes times = play_times(program);
  for (std::size_t a = 0; a < kAxes.size(); ++a) result.traffic[a].exposed = times.exposed[a];
  result.first_order = first_order_volumes(context);
  result.model_flops = model_flops(context);
  result.hardware_flops = count_flops(program);
  result.compute_time = times.compute;
  result.step_time = times.step;
  const auto tokens = static_cast<double>(context.tokens * layout.accumulation);
  result.tokens_per_second_per_gpu =
      tokens / times.step.value / static_cast<double>(layout.mesh.sizes[Axis::kTp]);
  result.mfu = result.model_flops.value /
               (matmul_peak(cluster.device, job.param_dtype).value * times.step.value);
  return result;
}

}  // namespace meshplan::planner
