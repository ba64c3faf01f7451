#include "planner/program/block_parts.h"
#include "planner/program/branch.h"

namespace meshplan::planner {
namespace {

using enum MemoryClass;

class FeedForward : public Branch {
 public:
  explicit FeedForward(const StepContext& context)
      : c_(context),
        a_(activation_sizes(context)),
        up_rows_(planner::up_rows(context, context.intermediate)) {}

  void read(OperationList& list) override {
    list.allocate("gate_up", kActivations, a_.gate_up);
    list.matmul("gate_up", c_.tokens, up_rows_, c_.model.hidden_size, c_.param_size);
  }

  void run(OperationList& list, const Recompute& drop) override {
    activate(list);
    if (drop.gate_up) list.free("gate_up", kActivations, a_.gate_up);
  }

  void write(OperationList& list) override {
    list.matmul("down", c_.tokens, c_.model.hidden_size, c_.intermediate, c_.param_size);
    list.free("gated", kTemporaries, a_.gated);
  }

  void forget(OperationList&) override {}

  void recompute(OperationList& list) override { read(list); }

  void bias_gradient(OperationList& list) override {
    if (c_.model.feed_forward_bias) list.elementwise("down bias gradient", a_.residual);
  }

  void output_gradients(OperationList& list) override {
    activate(list);
    list.matmul("down weight gradient", c_.model.hidden_size, c_.intermediate, c_.tokens,
                c_.param_size);
    list.matmul("down input gradient", c_.tokens, c_.intermediate, c_.model.hidden_size,
                c_.param_size);
  }

  void run_backward(OperationList& list) override {
    // Reads the gradient and what the forward pass read, and writes the gradient of that.
    list.elementwise("swiglu backward", 2 * a_.gate_up + a_.gated);
    if (c_.model.feed_forward_bias) list.elementwise("up bias gradient", a_.gate_up);
    list.free("gated", kTemporaries, a_.gated);
  }

  void input_gradient(OperationList& list) override {
    list.matmul("gate_up input gradient", c_.tokens, c_.model.hidden_size, up_rows_, c_.param_size);
  }

  void weight_gradients(OperationList& list) override {
    list.matmul("gate_up weight gradient", up_rows_, c_.model.hidden_size, c_.tokens,
                c_.param_size);
  }

  void free_saved(OperationList& list) override { list.free("gate_up", kActivations, a_.gate_up); }

 private:
  /// silu(gate) x up, or the activation of up alone.
  void activate(OperationList& list) {
    list.allocate("gated", kTemporaries, a_.gated);
    list.elementwise("swiglu", a_.gate_up + a_.gated);
  }

  const StepContext& c_;
  ActivationSizes a_;
  std::int64_t up_rows_;
};

}  // namespace

std::unique_ptr<Branch> make_feed_forward(const StepContext& context) {
  return std::make_unique<FeedForward>(context);
}

}  // namespace meshplan::planner
