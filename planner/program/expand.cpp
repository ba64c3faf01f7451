#include "planner/program/expand.h"

#include "planner/model/parameter_table.h"
#include "planner/program/expand_compute.h"
#include "planner/program/operation_list.h"

namespace meshplan::planner {
namespace {

using enum MemoryClass;

/// Bytes of a scalar that ranks sum: a float64 loss or norm, an int64 count.
constexpr std::int64_t kScalarBytes = 8;
/// Bytes of a master parameter, gradient shard or moment.
constexpr std::int64_t kMasterSize = 4;

std::int64_t size_of(const StepContext& c, Axis axis) { return c.layout.mesh.sizes[axis]; }

void all_reduce_scalar(OperationList& list, const StepContext& c, const char* name, Axis axis) {
  if (size_of(c, axis) > 1)
    list.collective(name, CollectiveKind::kAllReduce, axis, kScalarBytes, Stream::kCompute);
}

/// Elements of all of a rank's slices.
std::int64_t shard_elements(const StepContext& c) {
  const std::int64_t head = c.model.tie_word_embeddings ? 0 : c.head.shard_elements;
  return c.embedding.shard_elements + c.model.num_hidden_layers * c.block.shard_elements + head;
}

void expand_gather(OperationList& list, const StepContext& c, const UnitSizes& sizes) {
  if (!c.gathers_copy()) return;
  const std::int64_t full = sizes.elements * c.param_size;
  list.allocate("gathered parameters", kGatheredParameters, full);
  list.elementwise("cast master slice", sizes.shard_elements * (kMasterSize + c.param_size));
  if (size_of(c, Axis::kDpShard) > 1) {
    list.issue("parameters", CollectiveKind::kAllGather, Axis::kDpShard, full, Stream::kGather);
  }
}

/// What a reduction of this context and microbatch keeps until it is retired.
struct ReductionBuffers {
  /// The gradient in reduce_dtype, where that is not param_dtype.
  std::int64_t wide = 0;
  /// The reduced slice, where it has to be added to the one there is.
  std::int64_t slice = 0;
};

ReductionBuffers reduction_buffers(const StepContext& c, const UnitSizes& sizes,
                                   const MicrobatchPlace& place) {
  ReductionBuffers buffers;
  if (c.param_size != c.reduce_size) buffers.wide = sizes.elements * c.reduce_size;
  if (!place.first) buffers.slice = sizes.shard_elements * c.reduce_size;
  return buffers;
}

/// A reduction's second half: a later microbatch's slice is added to the gradient, the buffers die,
/// and with the last microbatch the gradient is summed over the replicas.
void expand_retire(OperationList& list, const StepContext& c, const Instruction& instruction) {
  if (instruction.retires == kNoUnit) return;
  const UnitSizes& sizes = c.sizes_of(instruction.retires);
  if (size_of(c, Axis::kDpShard) > 1) {
    const ReductionBuffers buffers = reduction_buffers(c, sizes, instruction.retires_place);
    if (buffers.slice > 0) list.elementwise("accumulate gradient", 3 * buffers.slice);
    list.free("reduced slice", kCommunicationBuffers, buffers.slice);
    list.free("gradient in reduce_dtype", kCommunicationBuffers, buffers.wide);
    list.free("unit gradient", kGradients, sizes.elements * c.param_size);
  }
  if (size_of(c, Axis::kDpReplicate) > 1 && instruction.retires_place.last) {
    list.collective("gradients over replicas", CollectiveKind::kAllReduce, Axis::kDpReplicate,
                    sizes.shard_elements * kMasterSize, Stream::kReduce);
  }
}

/// One slice holds everything: the unit's gradient becomes, or is added to, the rank's own.
void expand_local_reduce(OperationList& list, const StepContext& c, const UnitSizes& sizes,
                         bool first_microbatch) {
  const std::int64_t gradient = sizes.elements * c.param_size;
  const std::int64_t slice = sizes.elements * kMasterSize;
  if (first_microbatch && c.param_size == kMasterSize) return;
  if (first_microbatch) list.allocate("gradient slice", kGradients, slice);
  list.elementwise("accumulate gradient", gradient + (first_microbatch ? 1 : 2) * slice);
  list.free("unit gradient", kGradients, gradient);
}

void expand_reduce(OperationList& list, const StepContext& c, const Instruction& instruction) {
  const UnitSizes& sizes = c.sizes_of(instruction.unit);
  const bool first = instruction.place.first;
  expand_retire(list, c, instruction);
  if (size_of(c, Axis::kDpShard) == 1) {
    expand_local_reduce(list, c, sizes, first);
  } else {
    const ReductionBuffers buffers = reduction_buffers(c, sizes, instruction.place);
    if (buffers.wide > 0) {
      list.allocate("gradient in reduce_dtype", kCommunicationBuffers, buffers.wide);
      list.elementwise("cast gradient", sizes.elements * (c.param_size + c.reduce_size));
    }
    if (first) {
      list.allocate("gradient slice", kGradients, sizes.shard_elements * kMasterSize);
    } else {
      list.allocate("reduced slice", kCommunicationBuffers, buffers.slice);
    }
    list.issue("gradients", CollectiveKind::kReduceScatter, Axis::kDpShard,
               sizes.elements * c.reduce_size, Stream::kReduce);
  }
}

void expand_reduce_replicated(OperationList& list, const StepContext& c, const UnitSizes& sizes) {
  const FlatRange& range = sizes.replicated_gradients;
  list.collective("q and k norm gradients", CollectiveKind::kAllReduce, Axis::kTp,
                  (range.end - range.begin) * c.param_size, Stream::kTp);
}

void expand_gradient_norm(OperationList& list, const StepContext& c,
                          const Instruction& instruction) {
  expand_retire(list, c, instruction);
  list.elementwise("gradient_norm", shard_elements(c) * kMasterSize);
  all_reduce_scalar(list, c, "gradient_norm", Axis::kDpShard);
  all_reduce_scalar(list, c, "gradient_norm", Axis::kTp);
}

void expand_optimizer_step(OperationList& list, const StepContext& c) {
  // Reads parameter, gradient and both moments; writes all but the gradient.
  list.elementwise("adamw", 7 * shard_elements(c) * kMasterSize);
  list.free("gradient slices", kGradients, shard_elements(c) * kMasterSize);
}

void expand_dp_sum(OperationList& list, const StepContext& c, const char* name) {
  all_reduce_scalar(list, c, name, Axis::kDpShard);
  all_reduce_scalar(list, c, name, Axis::kDpReplicate);
}

}  // namespace

Operations expand(const StepContext& context, const Instruction& instruction) {
  OperationList list;
  switch (instruction.opcode) {
    case Opcode::kCountTokens:
      expand_dp_sum(list, context, "tokens");
      break;
    case Opcode::kGatherParameters:
      expand_gather(list, context, context.sizes_of(instruction.unit));
      break;
    case Opcode::kReleaseParameters:
      if (context.gathers_copy()) {
        list.free("gathered parameters", kGatheredParameters,
                  context.sizes_of(instruction.unit).elements * context.param_size);
      }
      break;
    case Opcode::kForward:
      if (instruction.computation == Computation::kEmbedding) {
        expand_embedding_forward(list, context);
      } else {
        expand_block_forward(list, context);
      }
      break;
    case Opcode::kBackward:
      if (instruction.computation == Computation::kEmbedding) {
        expand_embedding_backward(list, context);
      } else {
        expand_block_backward(list, context);
      }
      break;
    case Opcode::kLoss:
      expand_loss(list, context);
      break;
    case Opcode::kReduceReplicatedGradients:
      expand_reduce_replicated(list, context, context.sizes_of(instruction.unit));
      break;
    case Opcode::kReduceGradients:
      expand_reduce(list, context, instruction);
      break;
    case Opcode::kGradientNorm:
      expand_gradient_norm(list, context, instruction);
      break;
    case Opcode::kClipGradients:
      list.elementwise("clip", 2 * shard_elements(context) * kMasterSize);
      break;
    case Opcode::kOptimizerStep:
      expand_optimizer_step(list, context);
      break;
    case Opcode::kReportLoss:
      expand_dp_sum(list, context, "loss");
      break;
  }
  return list.take();
}

bool expand_alike(const StepContext& context, const Instruction& a, const Instruction& b) {
  const auto same_sizes = [&context](std::int64_t x, std::int64_t y) {
    if (x == kNoUnit || y == kNoUnit) return x == y;
    return &context.sizes_of(x) == &context.sizes_of(y);
  };
  return a.opcode == b.opcode && a.computation == b.computation && a.place == b.place &&
         a.retires_place == b.retires_place && same_sizes(a.unit, b.unit) &&
         same_sizes(a.retires, b.retires);
}

PersistentMemory persistent_memory(const StepContext& context) {
  const std::int64_t shard = shard_elements(context) * kMasterSize;
  const std::int64_t rope = 4 * context.job.seq_length * context.model.head_dim;
  const std::int64_t batch = 16 * context.tokens * context.layout.accumulation;
  return {.parameters = common::Bytes(shard),
          .optimizer = common::Bytes(2 * shard),
          .temporaries = common::Bytes(rope + batch)};
}

}  // namespace meshplan::planner
