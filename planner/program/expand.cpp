#include "planner/program/expand.h"

#include "planner/model/feed_forward_model.h"
#include "planner/program/async_tp.h"
#include "planner/program/expand_compute.h"
#include "planner/program/expand_sharding.h"
#include "planner/program/feed_forward.h"
#include "planner/program/float8.h"
#include "planner/program/operation_list.h"

namespace meshplan::planner {
namespace {

/// Bytes of a scalar that ranks sum: a float64 loss or norm, an int64 count.
constexpr std::int64_t kScalarBytes = 8;

void all_reduce_scalar(OperationList& list, const StepContext& c, const char* name, Axis axis) {
  if (group_size(c.layout.mesh, axis) > 1)
    list.collective(name, CollectiveKind::kAllReduce, axis, kScalarBytes, Stream::kCompute);
}

void expand_dp_sum(OperationList& list, const StepContext& c, const char* name) {
  all_reduce_scalar(list, c, name, Axis::kDpShard);
  all_reduce_scalar(list, c, name, Axis::kDpReplicate);
}

void expand_gradient_norm(OperationList& list, const StepContext& c,
                          const Instruction& instruction) {
  expand_retire(list, c, instruction);
  list.elementwise("gradient_norm", shard_elements(c) * c.reduce_size);
  all_reduce_scalar(list, c, "gradient_norm", Axis::kDpShard);
  all_reduce_scalar(list, c, "gradient_norm", Axis::kTp);
  all_reduce_scalar(list, c, "gradient_norm", Axis::kPp);
}

/// A block's operations, as the layout and the job want its matrix multiplies done.
Operations multiplied_as_asked(const StepContext& c, Operations operations) {
  if (matmul_dtype(c.job) == common::DataType::kFloat8) operations = in_float8(c, operations);
  if (c.layout.async_tp && c.splits_tokens()) operations = in_pieces(c, operations);
  return operations;
}

}  // namespace

Operations expand(const StepContext& context, const Instruction& instruction) {
  OperationList list;
  if (is_feed_forward(context.model) && instruction.computation != Computation::kNone) {
    expand_retire(list, context, instruction);
    expand_feed_forward(list, context, instruction);
    return list.take();
  }
  switch (instruction.opcode) {
    case Opcode::kCountTokens:
      expand_dp_sum(list, context, "tokens");
      break;
    case Opcode::kGatherParameters:
      expand_gather(list, context, instruction);
      break;
    case Opcode::kReleaseParameters:
      expand_release(list, context, instruction);
      break;
    case Opcode::kForward:
      if (instruction.computation == Computation::kEmbedding) {
        expand_embedding_forward(list, context);
      } else {
        expand_block_forward(list, context, instruction);
      }
      break;
    case Opcode::kBackward:
      if (instruction.computation == Computation::kEmbedding) {
        expand_embedding_backward(list, context);
      } else {
        expand_block_backward(list, context, instruction);
      }
      break;
    case Opcode::kLoss:
      expand_retire(list, context, instruction);
      expand_loss(list, context);
      break;
    case Opcode::kReduceReplicatedGradients:
      expand_reduce_replicated(list, context, instruction);
      break;
    case Opcode::kReduceGradients:
      expand_reduce(list, context, instruction);
      break;
    case Opcode::kSumReplicas:
      expand_sum_replicas(list, context, instruction);
      break;
    case Opcode::kReduceTiedGradients:
      expand_reduce_tied(list, context, instruction);
      break;
    case Opcode::kGradientNorm:
      expand_gradient_norm(list, context, instruction);
      break;
    case Opcode::kClipGradients:
      list.elementwise("clip", 2 * shard_elements(context) * context.reduce_size);
      break;
    case Opcode::kOptimizerStep:
      expand_optimizer_step(list, context);
      break;
    case Opcode::kReportLoss:
      expand_dp_sum(list, context, "loss");
      break;
    case Opcode::kSendActivations:
      expand_send(list, context, instruction.computation);
      break;
    case Opcode::kReceiveActivations:
      expand_receive(list, context, instruction.computation);
      break;
  }
  if (instruction.computation == Computation::kBlock)
    return multiplied_as_asked(context, list.take());
  return list.take();
}

bool expand_alike(const StepContext& context, const Instruction& a, const Instruction& b) {
  const auto same_sizes = [&context](std::int64_t x, std::int64_t y) {
    if (x == kNoUnit || y == kNoUnit) return x == y;
    return &context.sizes_of(x) == &context.sizes_of(y);
  };
  return a.opcode == b.opcode && a.computation == b.computation && a.place == b.place &&
         a.recompute == b.recompute && a.retires_place == b.retires_place &&
         same_sizes(a.unit, b.unit) && same_sizes(a.retires, b.retires);
}

PersistentMemory persistent_memory(const StepContext& context) {
  const std::int64_t elements = shard_elements(context);
  const bool offload = context.layout.optimizer_offload;
  const bool copy = context.parameter_copy() == ParameterCopy::kPersistent;
  const std::int64_t whole = copy ? whole_elements(context) * context.param_size : 0;
  const bool in_copy = context.master_in_copy() || (offload && copy);
  const std::int64_t slice = elements * (offload ? context.param_size : context.master_size);
  const bool rotary = context.model.positions == Positions::kRotary;
  const std::int64_t rope = rotary ? 4 * context.job.seq_length * context.model.head_dim : 0;
  const std::int64_t microbatch =
      is_feed_forward(context.model) ? feed_forward_row_bytes(context) : 16 * context.tokens;
  const std::int64_t batch = microbatch * context.layout.accumulation;
  return {.parameters = common::Bytes(whole + (in_copy ? 0 : slice)),
          .optimizer = common::Bytes(offload ? 0 : 2 * elements * context.moment_size),
          .temporaries = common::Bytes(rope + batch)};
}

common::Bytes host_memory(const StepContext& context) {
  if (!context.layout.optimizer_offload) return {};
  const bool copies = context.job.param_dtype != context.job.master_dtype;
  return common::Bytes(shard_elements(context) *
                       (context.master_size + 2 * context.moment_size + context.reduce_size +
                        (copies ? context.param_size : 0)));
}

}  // namespace meshplan::planner
