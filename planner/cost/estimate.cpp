#include "planner/cost/estimate.h"

#include <algorithm>

#include "planner/cost/pipeline_player.h"
#include "planner/model/feed_forward_model.h"
#include "planner/model/parameter_table.h"
#include "planner/program/feed_forward.h"

namespace meshplan::planner {
namespace {

/// Reserved over allocated memory of torch's caching allocator on GPUs, from published eager runs;
/// CPUs allocate exactly.
constexpr double kGpuAllocatorSlack = 1.11;

double allocator_slack(const ClusterSpec& cluster) {
  return cluster.device.kind == DeviceKind::kGpu ? kGpuAllocatorSlack : 1.0;
}

common::Bytes reserved_memory(const ClusterSpec& cluster, common::Bytes allocated) {
  return common::Bytes(
      static_cast<std::int64_t>(static_cast<double>(allocated.value) * allocator_slack(cluster)));
}

MemoryEstimate memory_of(const StepContext& context, const ClusterSpec& cluster,
                         const MemoryPeak& peak) {
  MemoryEstimate memory;
  memory.breakdown = peak.breakdown;
  memory.peak_allocated = total(peak.breakdown);
  memory.peak_reserved = reserved_memory(cluster, memory.peak_allocated);
  memory.peak_device = device_memory(cluster, memory.peak_allocated);
  memory.capacity = cluster.device.memory;
  memory.peak_instruction = describe(context.model, peak.instruction);
  memory.peak_stage = context.stage.index;
  return memory;
}

/// Traffic, FLOPs and time of kernels of all instructions.
struct Totals {
  Traffic traffic{};
  common::Flops flops;
  common::Seconds kernels;
};

Totals totals_of(const PricedProgram& program) {
  Totals totals;
  for (const ShapedPhase& phase : program.shape.phases) {
    for (const ShapedSegment& segment : phase.segments) {
      const std::int64_t times = phase.repetition.count * segment.repetition.count;
      for (const ShapedInstruction& instruction : segment.instructions) {
        const InstructionCost& cost = program.kinds[instruction.kind].cost;
        add(totals.traffic, cost.traffic, times);
        totals.flops += static_cast<double>(times) * cost.flops;
        totals.kernels += static_cast<double>(times) * (cost.before.kernels + cost.after.kernels);
      }
    }
  }
  return totals;
}

common::Flops model_flops(const StepContext& context) {
  const ModelSpec& model = context.model;
  if (is_feed_forward(model)) return feed_forward_flops(context);
  // The embedding is a look-up, as are learned positions; a tied one multiplies once, as the head.
  const std::int64_t width = model.embedding_size > 0 ? model.embedding_size : model.hidden_size;
  std::int64_t lookup = model.tie_word_embeddings ? 0 : model.vocab_size * width;
  if (model.positions == Positions::kLearned)
    lookup += model.max_position_embeddings * model.hidden_size;
  const auto parameters = static_cast<double>(active_parameter_count(model) - lookup);
  const double attention = 12.0 * static_cast<double>(model.num_hidden_layers) *
                           static_cast<double>(model.num_attention_heads * model.head_dim) *
                           static_cast<double>(context.job.seq_length);
  const auto tokens = static_cast<double>(context.tokens * context.layout.accumulation);
  const AxisSizes& sizes = context.layout.mesh.sizes;
  return common::Flops((6.0 * parameters + attention) * tokens /
                       static_cast<double>(sizes[Axis::kTp] * sizes[Axis::kPp]));
}

FirstOrderVolumes first_order_volumes(const ModelSpec& model, std::int64_t tokens) {
  return {
      .tp_activations = common::Bytes(model.num_hidden_layers * model.hidden_size * tokens * 2 * 2),
      .fsdp_parameters = common::Bytes(parameter_count(model) * 2)};
}

/// Adds a stage's memory, traffic and FLOPs, where it has more than those before.
void add_stage(Estimate& result, const ClusterSpec& cluster, const PricedStage& stage) {
  const MemoryPeak peak = memory_peak(stage.context, stage.program);
  const common::Bytes host = std::max(result.memory.host, host_memory(stage.context));
  if (total(peak.breakdown) > result.memory.peak_allocated)
    result.memory = memory_of(stage.context, cluster, peak);
  result.memory.host = host;
  const Totals totals = totals_of(stage.program);
  for (std::size_t a = 0; a < kAxes.size(); ++a) {
    if (totals.traffic[a].bytes > result.traffic[a].bytes) result.traffic[a] = totals.traffic[a];
  }
  result.hardware_flops = std::max(result.hardware_flops, totals.flops);
}

/// Interleaved stages are played for fewer microbatches, the others' times follow from the last of
/// them.
PipelineTimes times_of_pipeline(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                                const Layout& layout, const std::vector<PricedStage>& stages) {
  Layout shorter = layout;
  shorter.accumulation = std::min(layout.accumulation, pipeline_transient(std::ssize(stages)));
  if (layout.virtual_stages == 1 || shorter.accumulation == layout.accumulation)
    return play_pipeline(stages);
  PipelineTimes times = play_pipeline(price_stages(model, cluster, job, shorter));
  const auto more = static_cast<double>(layout.accumulation - shorter.accumulation);
  times.step = times.played + more * *times.cycle;
  return times;
}

/// The stage that computes longest, and its times; its step is that of the whole pipeline.
struct LongestStage {
  std::size_t index = 0;
  StepTimes times;
};

LongestStage longest_stage(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                           const Layout& layout, const std::vector<PricedStage>& stages) {
  if (stages.size() == 1) return {0, play_times(stages.front().program)};
  const PipelineTimes times = times_of_pipeline(model, cluster, job, layout, stages);
  std::size_t index = 0;
  for (std::size_t s = 0; s < stages.size(); ++s) {
    if (times.stages[s].compute >= times.stages[index].compute) index = s;
  }
  StepTimes longest = times.stages[index];
  longest.step = times.step;
  if (times.step == times.played) return {index, longest};
  longest.compute = totals_of(stages[index].program).kernels;
  // What a longer step stands still for is made up as that of the step played is.
  const common::Seconds still = times.played - times.stages[index].compute;
  if (still.value <= 0) return {index, longest};
  const double growth = std::max(0.0, (longest.step - longest.compute).value / still.value);
  for (common::Seconds& exposed : longest.exposed) exposed = growth * exposed;
  return {index, longest};
}

/// Of a step played in part, what is exposed on an axis can come out longer than the axis takes:
/// the rest is waiting for the other stages.
void bound_exposed(Traffic& traffic) {
  AxisTraffic& stages = traffic[static_cast<std::size_t>(Axis::kPp)];
  for (AxisTraffic& axis : traffic) {
    if (&axis == &stages || axis.exposed <= axis.time) continue;
    stages.exposed = stages.exposed + (axis.exposed - axis.time);
    axis.exposed = axis.time;
  }
}

}  // namespace

common::Bytes device_memory(const ClusterSpec& cluster, common::Bytes allocated) {
  return reserved_memory(cluster, allocated) + cluster.reserved_memory;
}

common::Bytes most_allocated(const ClusterSpec& cluster) {
  const auto room = static_cast<double>((cluster.device.memory - cluster.reserved_memory).value);
  return common::Bytes(static_cast<std::int64_t>((room + 1) / allocator_slack(cluster)) + 1);
}

Estimate estimate(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                  const Layout& layout) {
  Estimate result;
  result.violations = violations(model, cluster, job, layout);
  if (!result.violations.empty()) return result;
  const std::vector<PricedStage> stages = price_stages(model, cluster, job, layout);
  for (const PricedStage& stage : stages) add_stage(result, cluster, stage);
  result.fits = result.memory.peak_device <= result.memory.capacity;
  const auto [longest, times] = longest_stage(model, cluster, job, layout, stages);
  const Traffic traffic = totals_of(stages[longest].program).traffic;
  for (std::size_t a = 0; a < kAxes.size(); ++a) {
    result.traffic[a].time = traffic[a].time;
    result.traffic[a].exposed = times.exposed[a];
  }
  if (stages.size() > 1) bound_exposed(result.traffic);
  result.compute_time = times.compute;
  result.step_time = times.step;
  const StepContext& context = stages.front().context;
  result.first_order = first_order_volumes(model, context.tokens);
  result.model_flops = model_flops(context);
  const AxisSizes& sizes = layout.mesh.sizes;
  const auto tokens = static_cast<double>(context.tokens * layout.accumulation);
  result.tokens_per_second_per_gpu =
      tokens / times.step.value / static_cast<double>(sizes[Axis::kTp] * sizes[Axis::kPp]);
  result.mfu = result.model_flops.value /
               (matmul_peak(cluster.device, job.param_dtype).value * times.step.value);
  result.cost = token_cost(cluster, result.tokens_per_second_per_gpu);
  return result;
}

}  // namespace meshplan::planner
