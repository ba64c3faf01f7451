#include "planner/program/feed_forward.h"

namespace meshplan::planner {
namespace {

using enum MemoryClass;

/// Bytes of one microbatch's activations on one rank: [T, f] and [T, h].
struct RowSizes {
  std::int64_t gated;
  std::int64_t hidden;
};

RowSizes row_sizes(const StepContext& c) {
  const std::int64_t row = c.tokens * c.param_size;
  return {.gated = row * c.intermediate, .hidden = row * c.model.hidden_size};
}

void allocate_gradient(OperationList& list, const StepContext& c, std::int64_t unit) {
  list.allocate("unit gradient", kGradients, c.sizes_of(unit).elements * c.param_size);
}

/// Gate and up are halves of one buffer, which the gate's pass makes.
void expand_column_forward(OperationList& list, const StepContext& c, Computation computation) {
  const bool gate = computation == Computation::kGate;
  if (gate) list.allocate("gate_up", kActivations, 2 * row_sizes(c).gated);
  list.matmul(gate ? "w1" : "w3", c.tokens, c.intermediate, c.model.hidden_size, c.param_size);
}

void expand_column_backward(OperationList& list, const StepContext& c,
                            const Instruction& instruction) {
  const bool gate = instruction.computation == Computation::kGate;
  allocate_gradient(list, c, instruction.unit);
  list.matmul(gate ? "w1 weight gradient" : "w3 weight gradient", c.intermediate,
              c.model.hidden_size, c.tokens, c.param_size);
  if (gate) list.free("gate_up", kActivations, 2 * row_sizes(c).gated);
}

/// The output's gradient is the same number everywhere, so that the backward pass runs beside the
/// sum of the output over tp.
void expand_down(OperationList& list, const StepContext& c, const Instruction& instruction) {
  const RowSizes a = row_sizes(c);
  const std::int64_t hidden = c.model.hidden_size;
  allocate_gradient(list, c, instruction.unit);
  list.allocate("gated", kTemporaries, a.gated);
  list.elementwise("swiglu", 3 * a.gated);
  list.allocate("output", kActivations, a.hidden);
  list.matmul("w2", c.tokens, hidden, c.intermediate, c.param_size);
  const bool sums = c.layout.mesh.sizes[Axis::kTp] > 1;
  if (sums) list.issue("output", CollectiveKind::kAllReduce, Axis::kTp, a.hidden, Stream::kTp);
  list.allocate("output gradient", kTemporaries, a.hidden);
  list.elementwise("output gradient", a.hidden);
  list.matmul("w2 weight gradient", hidden, c.intermediate, c.tokens, c.param_size);
  list.matmul("w2 input gradient", c.tokens, c.intermediate, hidden, c.param_size);
  list.free("output gradient", kTemporaries, a.hidden);
  list.elementwise("swiglu backward", 5 * a.gated);
  list.free("gated", kTemporaries, a.gated);
  if (sums) list.join();
  list.elementwise("loss", a.hidden);
  list.free("output", kActivations, a.hidden);
}

}  // namespace

void expand_feed_forward(OperationList& list, const StepContext& context,
                         const Instruction& instruction) {
  if (instruction.computation == Computation::kDown) return expand_down(list, context, instruction);
  if (instruction.opcode == Opcode::kForward)
    return expand_column_forward(list, context, instruction.computation);
  expand_column_backward(list, context, instruction);
}

std::int64_t feed_forward_row_bytes(const StepContext& context) {
  return row_sizes(context).hidden;
}

common::Flops feed_forward_flops(const StepContext& context) {
  const auto matrix =
      static_cast<double>(context.intermediate) * static_cast<double>(context.model.hidden_size);
  const auto rows = static_cast<double>(context.tokens * context.layout.accumulation);
  return common::Flops((2 * 4.0 + 6.0) * matrix * rows);
}

}  // namespace meshplan::planner
