#include "planner/program/expand_compute.h"

namespace meshplan::planner {
namespace {

std::int64_t residual_bytes(const StepContext& c) {
  return c.residual_tokens * c.model.hidden_size * c.param_size;
}

/// At the output a stage holds its last block's result, at the input the gradient of its first
/// block's; what it receives is held alike.
MemoryClass memory_of_sent(Computation border) {
  return border == Computation::kHead ? MemoryClass::kActivations : MemoryClass::kTemporaries;
}

MemoryClass memory_of_received(Computation border) {
  return border == Computation::kEmbedding ? MemoryClass::kActivations : MemoryClass::kTemporaries;
}

}  // namespace

void expand_send(OperationList& list, const StepContext& c, Computation border) {
  list.issue("residual stream", CollectiveKind::kSend, Axis::kPp, residual_bytes(c),
             Stream::kPipeline);
  list.free("sent", memory_of_sent(border), residual_bytes(c));
}

void expand_receive(OperationList& list, const StepContext& c, Computation border) {
  list.allocate("received", memory_of_received(border), residual_bytes(c));
}

}  // namespace meshplan::planner
