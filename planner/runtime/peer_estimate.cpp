#include "planner/runtime/peer_estimate.h"

#include <algorithm>
#include <optional>

#include "planner/runtime/stage_share.h"

namespace meshplan::planner {
namespace {

using common::Seconds;

/// A list's time by what it may run beside.
struct Parts {
  Seconds compute;
  /// Waited for.
  Seconds tensor_parallel;
  /// Of sharded parameters, issued ahead; and waited for.
  Seconds sharding;
  Seconds sharding_exposed;
};

GroupShape group_of_axis(const PeerRun& run, Axis axis) {
  GroupShape group{.ranks = run.mesh.sizes[axis],
                   .stride = stride_of(run.mesh, axis),
                   .ranks_per_node = std::min(run.mesh.ranks_per_node, world_size(run.mesh))};
  // Parameters shard over cp, too, whose ranks lie within those of dp_shard.
  if (axis == Axis::kDpShard) {
    group.ranks = sharding_ranks(run.mesh);
    group.stride = run.mesh.sizes[Axis::kTp];
  }
  // Without shards every data-parallel rank is a replica.
  if (axis == Axis::kDpReplicate && !shards_parameters(run)) {
    group.ranks = data_parallel_size(run.mesh);
    group.stride = run.mesh.sizes[Axis::kTp] * run.mesh.sizes[Axis::kCp];
  }
  return group;
}

Seconds kernel_time(const PeerRun& run, const Operation& operation, bool fp8, bool backward) {
  const GpuFigures& gpu = *run.hardware.gpu;
  switch (operation.kernel) {
    case KernelKind::kMatmul:
      return matmul_time(gpu, operation.flops, operation.bytes, fp8);
    case KernelKind::kAttention:
      return attention_time(gpu, operation.flops, static_cast<double>(run.seq_length), backward);
    case KernelKind::kElementwise:
      return memory_time(gpu, operation.bytes);
    case KernelKind::kHostCopy:
    case KernelKind::kHostUpdate:
      break;  // No peer's program has them.
  }
  return {};
}

Seconds tensor_parallel_time(const PeerRun& run, const Operation& operation) {
  const GroupShape group = group_of_axis(run, Axis::kTp);
  const Seconds time = collective_time(run.hardware, operation.collective, operation.bytes, group);
  const double nodes =
      static_cast<double>(group.ranks) / static_cast<double>(run.mesh.ranks_per_node);
  return nodes > 1 ? time + nodes * run.hardware.network.fabric->tensor_parallel_hop : time;
}

/// The kernels between a collective and the wait for it; nothing where none waits.
std::optional<Seconds> time_until_wait(const PeerRun& run, const RepeatedOperations& list,
                                       std::size_t index, bool fp8) {
  Seconds kernels;
  for (std::size_t i = index + 1; i < list.operations.size(); ++i) {
    const Operation& operation = list.operations[i];
    if (operation.kind == OperationKind::kKernel)
      kernels += kernel_time(run, operation, fp8, list.backward);
    if (operation.kind == OperationKind::kWait &&
        operation.awaited == static_cast<std::int32_t>(index))
      return kernels;
  }
  return std::nullopt;
}

void add_collective(Parts& parts, const PeerRun& run, const Operation& operation,
                    const std::optional<Seconds>& beside, double repeats) {
  if (operation.axis == Axis::kTp) {
    const Seconds hidden = run.runtime->tp_overlap * beside.value_or(Seconds{});
    parts.tensor_parallel +=
        repeats * std::max(Seconds{}, tensor_parallel_time(run, operation) - hidden);
    return;
  }
  const Seconds time =
      repeats * collective_time(run.hardware, operation.collective, operation.bytes,
                                group_of_axis(run, operation.axis));
  if (operation.axis == Axis::kCp)
    parts.compute += time;
  else
    (beside ? parts.sharding_exposed : parts.sharding) += time;
}

Parts price(const PeerRun& run, const std::vector<RepeatedOperations>& lists, bool fp8) {
  Parts parts;
  for (const RepeatedOperations& list : lists) {
    if (list.repeats <= 0) continue;
    const Operations& operations = list.operations;
    for (std::size_t i = 0; i < operations.size(); ++i) {
      const Operation& operation = operations[i];
      if (operation.kind == OperationKind::kKernel)
        parts.compute += list.repeats * kernel_time(run, operation, fp8, list.backward);
      else if (operation.kind == OperationKind::kCollective)
        add_collective(parts, run, operation, time_until_wait(run, list, i, fp8), list.repeats);
    }
  }
  return parts;
}

/// A block's pass: sharded parameters move beside compute and slow it; tensor parallelism does not
/// hide.
Seconds pass_time(const PeerRun& run, const Parts& parts) {
  const RuntimeProfile& runtime = *run.runtime;
  const double shown = run.async_tp ? 1 - runtime.async_tp_hidden : 1;
  return std::max(parts.compute, parts.sharding) +
         runtime.sharding_slowdown * std::min(parts.compute, parts.sharding) +
         shown * runtime.tp_skew * parts.tensor_parallel;
}

bool stages_span_nodes(const PeerRun& run) {
  return run.mesh.sizes[Axis::kPp] > 1 && world_size(run.mesh) > run.mesh.ranks_per_node;
}

/// The host's time to issue a block's forward and backward pass.
Seconds issue_time(const PeerRun& run) {
  const RuntimeProfile& runtime = *run.runtime;
  if (!stages_span_nodes(run)) return runtime.block_issue_time;
  const double tp = static_cast<double>(run.mesh.sizes[Axis::kTp]);
  const double nodes = std::max(1.0, tp / static_cast<double>(run.mesh.ranks_per_node));
  return runtime.block_issue_time +
         tp * (1 + runtime.pipeline_issue_growth * (nodes - 1)) * runtime.pipeline_issue_time;
}

/// Of a block and a microbatch; a pass takes the GPU's time or the host's, whichever is longer.
struct BlockTime {
  Seconds whole;
  /// The GPU's part of the backward pass, were there no sharded parameters.
  Seconds backward_compute;
};

BlockTime block_time(const PeerRun& run, const PeerProgram& program) {
  const Parts forward = price(run, program.forward, run.fp8);
  const Parts backward = price(run, program.backward, run.fp8);
  const double again = run.checkpointing == PeerCheckpointing::kFull           ? 1
                       : run.checkpointing == PeerCheckpointing::kSecondBlocks ? 0.5
                                                                               : 0;
  const Seconds host = issue_time(run);
  const Seconds host_forward = host / (3 + again);
  Parts unsharded = backward;
  unsharded.sharding = {};
  return {.whole = std::max(pass_time(run, forward), host_forward) +
                   std::max(pass_time(run, backward), host - host_forward),
          .backward_compute = pass_time(run, unsharded)};
}

/// What all messages between stages cost on top of moving their bytes: a stage inside the pipeline
/// sends and receives four times a microbatch, the first and the last twice.
Seconds message_time(const PeerRun& run) {
  constexpr std::int64_t kCrowded = 256;
  if (world_size(run.mesh) <= kCrowded) return {};
  const double stages = static_cast<double>(run.mesh.sizes[Axis::kPp]);
  const double messages =
      (stages > 2 ? 4 : 2) * static_cast<double>(run.accumulation) + 2 * (stages - 1);
  return messages * run.runtime->crowded_message_time;
}

/// All microbatches through all stages.
Seconds schedule_time(const PeerRun& run, const PeerProgram& program, Seconds block) {
  const Parts head_parts = price(run, program.head, false);
  const double nodes = std::max(1.0, static_cast<double>(run.mesh.sizes[Axis::kTp]) /
                                         static_cast<double>(run.mesh.ranks_per_node));
  const Seconds head = head_parts.compute + run.runtime->tp_skew * head_parts.tensor_parallel +
                       head_parts.sharding_exposed + (nodes - 1) * run.runtime->tp_node_time;
  const double layers = static_cast<double>(run.model.num_hidden_layers);
  const double microbatches = static_cast<double>(run.accumulation);
  const std::int64_t stages = run.mesh.sizes[Axis::kPp];
  if (stages == 1) return microbatches * (layers * block + head);
  const StageShare share = share_blocks(run);
  const double chunks = static_cast<double>(run.virtual_stages);
  // Forward and backward.
  const Seconds send = 2 * send_time(run.hardware, program.send, stages_span_nodes(run));
  const Seconds fullest = std::max(static_cast<double>(share.most) * block,
                                   static_cast<double>(share.last) * block + head) +
                          send;
  const Seconds all = layers * block + head + static_cast<double>(stages) * send;
  return microbatches * fullest + (all - fullest) / chunks + microbatches * (chunks - 1) * send +
         message_time(run);
}

Seconds list_time(const PeerRun& run, const Operations& operations) {
  Seconds time;
  for (const Operation& operation : operations) {
    if (operation.kind == OperationKind::kKernel)
      time += kernel_time(run, operation, false, false);
    else if (operation.kind == OperationKind::kCollective)
      time += collective_time(run.hardware, operation.collective, operation.bytes,
                              group_of_axis(run, operation.axis));
  }
  return time;
}

/// Reduction of replicated gradients, partly beside the last backward pass or after it.
Seconds step_end_time(const PeerRun& run, const PeerProgram& program, Seconds backward_compute) {
  constexpr double kNeverHidden = 0.1;
  const Seconds reduction = list_time(run, program.reduction);
  const bool zero1 = run.sharding == Sharding::kShardOptimizer;
  const bool after = zero1 && run.runtime->zero1_reduces_after;
  const double hidden = after ? 0 : run.runtime->reduction_hidden;
  const Seconds beside = hidden * static_cast<double>(share_blocks(run).most) * backward_compute;
  Seconds tied;
  if (!program.tied_gradient.empty())
    tied = 2 * send_time(run.hardware, program.tied_gradient.front().bytes, stages_span_nodes(run));
  return std::max(reduction - beside, kNeverHidden * reduction) + list_time(run, program.gather) +
         tied + list_time(run, program.optimizer) + run.runtime->step_overhead;
}

}  // namespace

common::Bytes peak_of(const Operations& operations) {
  std::int64_t standing = 0;
  std::int64_t peak = 0;
  for (const Operation& operation : operations) {
    if (operation.kind == OperationKind::kAllocate) standing += operation.bytes.value;
    if (operation.kind == OperationKind::kFree) standing -= operation.bytes.value;
    peak = std::max(peak, standing);
  }
  return common::Bytes(peak);
}

PeerEstimate estimate(const PeerRun& run) {
  const PeerProgram program = build_peer_program(run);
  const BlockTime block = block_time(run, program);
  PeerEstimate result;
  result.step_time = schedule_time(run, program, block.whole) +
                     step_end_time(run, program, block.backward_compute);
  result.tokens_per_second = static_cast<double>(run.microbatch_size) *
                             static_cast<double>(run.accumulation) *
                             static_cast<double>(data_parallel_size(run.mesh)) *
                             static_cast<double>(run.seq_length) / result.step_time.value;
  result.tokens_per_second_per_gpu =
      result.tokens_per_second / static_cast<double>(world_size(run.mesh));
  result.peak_allocated_first_stage = peak_of(stage_memory(run, true));
  result.peak_allocated = result.peak_allocated_first_stage;
  if (run.mesh.sizes[Axis::kPp] > 1)
    result.peak_allocated = std::max(result.peak_allocated, peak_of(stage_memory(run, false)));
  // A double rounds sizes beyond 2^53.
  result.peak_reserved =
      std::max(result.peak_allocated, common::Bytes(static_cast<std::int64_t>(std::min(
                                          reserved_bytes(run, result.peak_allocated), 0x1p62))));
  result.fits = result.peak_reserved <= run.hardware.gpu->memory;
  return result;
}

}  // namespace meshplan::planner
