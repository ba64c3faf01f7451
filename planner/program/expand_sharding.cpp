#include "planner/program/expand_sharding.h"

#include "planner/model/parameter_table.h"

namespace meshplan::planner {
namespace {

using enum MemoryClass;

bool shards(const StepContext& c) { return sharding_ranks(c.layout.mesh) > 1; }

/// A collective over all ranks that share the unit's parameters out, and one over those that share
/// out its experts, which are fewer. Of experts that one rank has alone, gradients are copied to
/// their slice.
void issue_over_shards(OperationList& list, const StepContext& c, CollectiveKind kind,
                       const UnitSizes& sizes, std::int64_t element_size) {
  const bool gathers = kind == CollectiveKind::kAllGather;
  const Stream stream = gathers ? Stream::kGather : Stream::kReduce;
  const std::int64_t experts = sizes.expert_elements * element_size;
  const bool shards_experts = group_size(c.layout.mesh, Axis::kExpertShard) > 1;
  if (experts > 0 && !shards_experts && !gathers) list.elementwise("expert gradients", 2 * experts);
  list.issue(gathers ? "parameters" : "gradients", kind, Axis::kDpShard,
             sizes.elements * element_size - experts, stream);
  if (experts > 0 && shards_experts)
    list.issue(gathers ? "expert parameters" : "expert gradients", kind, Axis::kExpertShard,
               experts, stream);
}

/// Sums one of the sizes over the units that the stage holds.
std::int64_t over_units(const StepContext& c, std::int64_t UnitSizes::*size) {
  std::int64_t elements = 0;
  if (c.stage.is_first()) elements += c.embedding.*size;
  if (c.has_head_unit()) elements += c.head.*size;
  // Where all blocks are alike, the others' sizes are 0.
  if (c.other_block.elements == 0) return elements + c.stage.blocks * c.block.*size;
  for (std::int64_t block = 0; block < c.stage.blocks; ++block)
    elements += c.sizes_of_block(c.stage.first_block + block).*size;
  return elements;
}

/// Whether the reduction of the microbatch at this place is of a gradient that earlier ones have
/// been added to.
bool reduces_whole_gradient(const StepContext& c, const MicrobatchPlace& place) {
  return accumulates_whole_gradients(c.layout) && !place.first;
}

void free_unit_gradient(OperationList& list, const StepContext& c, const UnitSizes& sizes) {
  list.free("unit gradient", kGradients, sizes.elements * c.param_size);
}

/// The unit's gradient becomes, or is added to, one in reduce_dtype that stays.
void expand_accumulate(OperationList& list, const StepContext& c, const UnitSizes& sizes,
                       bool first_microbatch) {
  if (first_microbatch && c.job.param_dtype == c.job.reduce_dtype) return;
  const std::int64_t kept = sizes.elements * c.reduce_size;
  if (first_microbatch) list.allocate("whole gradient", kGradients, kept);
  list.elementwise("accumulate gradient",
                   sizes.elements * c.param_size + (first_microbatch ? 1 : 2) * kept);
  free_unit_gradient(list, c, sizes);
}

/// What a reduction keeps until it is retired.
struct ReductionBuffers {
  /// The gradient in reduce_dtype, where that is not param_dtype.
  std::int64_t wide = 0;
  /// The reduced slice, where it has to be added to the one there is.
  std::int64_t slice = 0;
};

ReductionBuffers reduction_buffers(const StepContext& c, const UnitSizes& sizes,
                                   const MicrobatchPlace& place) {
  ReductionBuffers buffers;
  if (c.job.param_dtype != c.job.reduce_dtype) buffers.wide = sizes.elements * c.reduce_size;
  if (!place.first) buffers.slice = sizes.shard_elements * c.reduce_size;
  return buffers;
}

void expand_reduce_microbatch(OperationList& list, const StepContext& c, const UnitSizes& sizes,
                              const MicrobatchPlace& place) {
  const ReductionBuffers buffers = reduction_buffers(c, sizes, place);
  if (buffers.wide > 0) {
    list.allocate("gradient in reduce_dtype", kCommunicationBuffers, buffers.wide);
    list.elementwise("cast gradient", sizes.elements * (c.param_size + c.reduce_size));
  }
  if (place.first) {
    list.allocate("gradient slice", kGradients, sizes.shard_elements * c.reduce_size);
  } else {
    list.allocate("reduced slice", kCommunicationBuffers, buffers.slice);
  }
}

/// The update of slices of so many elements: AdamW reads parameter, gradient and both moments and
/// writes all but the gradient, which it wants in master_dtype.
void expand_update(OperationList& list, const StepContext& c, std::int64_t elements) {
  const std::int64_t size = elements * c.master_size;
  const std::int64_t touched = 3 * size + 4 * elements * c.moment_size;
  if (c.job.reduce_dtype == c.job.master_dtype) return list.elementwise("adamw", touched);
  list.allocate("gradient in master_dtype", kTemporaries, size);
  list.elementwise("cast gradient", elements * (c.reduce_size + c.master_size));
  list.elementwise("adamw", touched);
  list.free("gradient in master_dtype", kTemporaries, size);
}

/// The same on the host, between the gradients' way there and the parameters' way back; the host
/// casts as it reads and writes (Ren et al. 2021, arXiv 2101.06840, section 4). Nothing runs beside
/// it: clipping wants all gradients first, and the next forward pass all parameters.
void expand_host_update(OperationList& list, const StepContext& c) {
  const std::int64_t elements = shard_elements(c);
  const bool copies = c.job.param_dtype != c.job.master_dtype;
  list.host_copy("gradients to the host", elements * c.reduce_size);
  list.host_update("adamw on the host",
                   elements * (c.reduce_size + 2 * c.master_size + 4 * c.moment_size +
                               (copies ? c.param_size : 0)));
  list.host_copy("parameters to the device", elements * c.param_size);
}

}  // namespace

std::int64_t shard_elements(const StepContext& c) {
  return over_units(c, &UnitSizes::shard_elements);
}

std::int64_t whole_elements(const StepContext& c) { return over_units(c, &UnitSizes::elements); }

void expand_gather(OperationList& list, const StepContext& c, const Instruction& instruction) {
  const ParameterCopy copy = c.parameter_copy();
  if (copy == ParameterCopy::kNone) return;
  const UnitSizes& sizes = c.sizes_of(instruction.unit);
  const std::int64_t whole = sizes.elements * c.param_size;
  if (copy == ParameterCopy::kGathered)
    list.allocate("gathered parameters", kGatheredParameters, whole);
  if (c.layout.optimizer_offload) {
    // What comes from the host is of param_dtype, and goes into a persistent copy itself.
    if (copy == ParameterCopy::kGathered)
      list.elementwise("copy slice", 2 * sizes.shard_elements * c.param_size);
  } else if (!c.master_in_copy()) {
    list.elementwise("cast master slice", sizes.shard_elements * (c.master_size + c.param_size));
  }
  if (shards(c)) issue_over_shards(list, c, CollectiveKind::kAllGather, sizes, c.param_size);
}

void expand_release(OperationList& list, const StepContext& c, const Instruction& instruction) {
  if (c.parameter_copy() != ParameterCopy::kGathered) return;
  list.free("gathered parameters", kGatheredParameters,
            c.sizes_of(instruction.unit).elements * c.param_size);
}

void expand_reduce_replicated(OperationList& list, const StepContext& c,
                              const Instruction& instruction) {
  const UnitSizes& sizes = c.sizes_of(instruction.unit);
  const auto sum = [&](const char* name, const FlatRange& range) {
    if (range.end > range.begin)
      list.collective(name, CollectiveKind::kAllReduce, Axis::kTp,
                      (range.end - range.begin) * c.param_size, Stream::kTp);
  };
  sum("replicated gradients", sizes.replicated_gradients);
  sum("router gradients", sizes.router_gradients);
}

void expand_reduce(OperationList& list, const StepContext& c, const Instruction& instruction) {
  const UnitSizes& sizes = c.sizes_of(instruction.unit);
  const MicrobatchPlace& place = instruction.place;
  expand_retire(list, c, instruction);
  if (!shards(c)) return expand_accumulate(list, c, sizes, place.first);
  if (accumulates_whole_gradients(c.layout) && !(place.first && place.last)) {
    expand_accumulate(list, c, sizes, place.first);
    if (!place.last) return;
    list.allocate("gradient slice", kGradients, sizes.shard_elements * c.reduce_size);
  } else {
    expand_reduce_microbatch(list, c, sizes, place);
  }
  issue_over_shards(list, c, CollectiveKind::kReduceScatter, sizes, c.reduce_size);
}

void expand_retire(OperationList& list, const StepContext& c, const Instruction& instruction) {
  if (instruction.retires == kNoUnit || !shards(c)) return;
  const UnitSizes& sizes = c.sizes_of(instruction.retires);
  if (reduces_whole_gradient(c, instruction.retires_place))
    return list.free("whole gradient", kGradients, sizes.elements * c.reduce_size);
  const ReductionBuffers buffers = reduction_buffers(c, sizes, instruction.retires_place);
  if (buffers.slice > 0) list.elementwise("accumulate gradient", 3 * buffers.slice);
  list.free("reduced slice", kCommunicationBuffers, buffers.slice);
  list.free("gradient in reduce_dtype", kCommunicationBuffers, buffers.wide);
  free_unit_gradient(list, c, sizes);
}

void expand_sum_replicas(OperationList& list, const StepContext& c,
                         const Instruction& instruction) {
  expand_retire(list, c, instruction);
  list.issue("gradients over replicas", CollectiveKind::kAllReduce, Axis::kDpReplicate,
             c.sizes_of(instruction.unit).shard_elements * c.reduce_size, Stream::kReplicate);
}

void expand_reduce_tied(OperationList& list, const StepContext& c, const Instruction& instruction) {
  expand_retire(list, c, instruction);
  const std::int64_t slice = c.embedding.shard_elements * c.reduce_size;
  list.allocate("tied gradient of the other stage", kCommunicationBuffers, slice);
  list.collective("tied gradient", CollectiveKind::kSend, Axis::kPp, slice, Stream::kPipeline);
  list.elementwise("tied gradient", 3 * slice);
  list.free("tied gradient of the other stage", kCommunicationBuffers, slice);
}

void expand_optimizer_step(OperationList& list, const StepContext& c) {
  if (c.layout.optimizer_offload) {
    expand_host_update(list, c);
  } else if (c.job.reduce_dtype == c.job.master_dtype) {
    expand_update(list, c, shard_elements(c));
  } else {
    // Unit by unit, so that only one has its gradient twice.
    if (c.stage.is_first()) expand_update(list, c, c.embedding.shard_elements);
    for (std::int64_t block = 0; block < c.stage.blocks; ++block)
      expand_update(list, c, c.sizes_of_block(c.stage.first_block + block).shard_elements);
    if (c.has_head_unit()) expand_update(list, c, c.head.shard_elements);
  }
  list.free("gradient slices", kGradients, shard_elements(c) * c.reduce_size);
}

}  // namespace meshplan::planner
