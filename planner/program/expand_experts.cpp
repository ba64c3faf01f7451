#include "planner/program/block_parts.h"
#include "planner/program/branch.h"

namespace meshplan::planner {
namespace {

using enum MemoryClass;

/// Bytes of one microbatch's activations of a mixture of experts on one rank.
struct ExpertBytes {
  /// [rows, h], and with the routing weight of each row, as rows travel to experts of other ranks.
  std::int64_t rows;
  std::int64_t message;
  /// Probabilities of all experts in float32; weight, expert and place of each row.
  std::int64_t routing;
  /// Weight and place of the rows that came from other ranks.
  std::int64_t received_routing;
  std::int64_t gate_up;
  std::int64_t gated;
  std::int64_t shared_gate_up;
  std::int64_t shared_gated;
  std::int64_t shared_gate;
};

ExpertBytes expert_bytes(const StepContext& c) {
  const ExpertSizes& e = c.experts;
  const bool gate = c.model.shared_expert_gate && e.shared_intermediate > 0;
  const std::int64_t rows = e.rows * c.model.hidden_size * c.param_size;
  return {.rows = rows,
          .message = rows + 4 * e.rows,
          .routing = 4 * c.tokens * c.model.moe.num_experts + 12 * e.rows,
          .received_routing = c.layout.mesh.expert_parallel > 1 ? 8 * e.rows : 0,
          .gate_up = e.rows * up_rows(c, e.intermediate) * c.param_size,
          .gated = e.rows * e.intermediate * c.param_size,
          .shared_gate_up = c.tokens * up_rows(c, e.shared_intermediate) * c.param_size,
          .shared_gated = c.tokens * e.shared_intermediate * c.param_size,
          .shared_gate = gate ? 4 * c.tokens : 0};
}

/// Router, experts and shared expert. Rows are weighted by their routing weight between the
/// experts' two multiplies, so that the gradient of the weights needs no output of an expert; the
/// shared expert's gate likewise. The loss that balances experts is left out.
class Experts : public Branch {
 public:
  Experts(const StepContext& context, const Recompute& recompute)
      : c_(context),
        a_(activation_sizes(context)),
        e_(context.experts),
        b_(expert_bytes(context)),
        recompute_(recompute),
        exchanges_(context.layout.mesh.expert_parallel > 1),
        rows_at_hand_(exchanges_ && !recompute.attention) {}

  void read(OperationList& list) override {
    route(list);
    collect_rows(list);
    read_shared(list);
  }

  void run(OperationList& list, const Recompute& drop) override {
    multiply_up(list);
    // From other ranks they would have to come once more.
    if (!exchanges_ || drop.attention) free_rows(list);
    activate(list);
    if (drop.gate_up) list.free("gate_up", kActivations, b_.gate_up);
    list.allocate("expert outputs", kTemporaries, b_.rows);
    grouped(list, "experts down", c_.model.hidden_size, e_.intermediate);
    list.free("gated", kTemporaries, b_.gated);
    send_back(list, "expert outputs", b_.rows);
    if (e_.shared_intermediate == 0) return;
    activate_shared(list);
    if (drop.gate_up) list.free("shared gate_up", kActivations, b_.shared_gate_up);
  }

  void write(OperationList& list) override {
    list.elementwise("combine", b_.rows + a_.hidden);
    list.free("returned rows", kTemporaries, b_.rows);
    if (e_.shared_intermediate == 0) return;
    list.matmul("shared down", c_.tokens, c_.model.hidden_size, e_.shared_intermediate,
                c_.param_size);
    list.free("shared gated", kTemporaries, b_.shared_gated);
  }

  void forget(OperationList& list) override {
    list.free("routing", kActivations, b_.routing);
    list.free("received routing", kActivations, b_.received_routing);
    list.free("shared gate", kActivations, b_.shared_gate);
  }

  void recompute(OperationList& list) override {
    if (recompute_.attention) route(list);
    if (!rows_at_hand_) collect_rows(list);
    multiply_up(list);
    if (e_.shared_intermediate == 0) return;
    if (recompute_.attention) return read_shared(list);
    multiply_shared_up(list);
  }

  void bias_gradient(OperationList&) override {}

  void output_gradients(OperationList& list) override {
    list.allocate("gradient rows", kTemporaries, b_.rows);
    list.elementwise("permute gradient", 2 * b_.rows);
    if (exchanges_) exchange(list, "gradient rows", b_.rows, b_.rows, kTemporaries);
    activate(list);
    grouped(list, "experts down weight gradient", c_.model.hidden_size, e_.intermediate);
    grouped(list, "experts down input gradient", c_.model.hidden_size, e_.intermediate);
    list.free("gradient rows", kTemporaries, b_.rows);
    if (e_.shared_intermediate == 0) return;
    activate_shared(list);
    list.matmul("shared down weight gradient", c_.model.hidden_size, e_.shared_intermediate,
                c_.tokens, c_.param_size);
    list.matmul("shared down input gradient", c_.tokens, e_.shared_intermediate,
                c_.model.hidden_size, c_.param_size);
  }

  void run_backward(OperationList& list) override {
    list.elementwise("weighted swiglu backward", 2 * b_.gate_up + b_.gated);
    list.free("gated", kTemporaries, b_.gated);
    if (e_.shared_intermediate == 0) return;
    list.elementwise("shared swiglu backward", 2 * b_.shared_gate_up + b_.shared_gated);
    list.free("shared gated", kTemporaries, b_.shared_gated);
  }

  void input_gradient(OperationList& list) override {
    const std::int64_t hidden = c_.model.hidden_size;
    const std::int64_t width = up_rows(c_, e_.intermediate);
    list.allocate("row gradients", kTemporaries, b_.rows);
    grouped(list, "experts gate_up input gradient", width, hidden);
    send_back(list, "row gradients", b_.message);
    list.elementwise("un-permute gradient", b_.rows + a_.hidden);
    list.free("returned rows", kTemporaries, exchanges_ ? b_.message : b_.rows);
    const std::int64_t experts = c_.model.moe.num_experts;
    list.elementwise("top_k backward", 2 * 4 * c_.tokens * experts);
    list.matmul("router input gradient", c_.tokens, hidden, experts, c_.param_size);
    if (e_.shared_intermediate == 0) return;
    list.matmul("shared gate_up input gradient", c_.tokens, hidden,
                up_rows(c_, e_.shared_intermediate), c_.param_size);
    if (b_.shared_gate > 0)
      list.matmul("shared gate input gradient", c_.tokens, hidden, 1, c_.param_size);
  }

  void weight_gradients(OperationList& list) override {
    const std::int64_t hidden = c_.model.hidden_size;
    if (!rows_at_hand_) collect_rows(list);
    grouped(list, "experts gate_up weight gradient", up_rows(c_, e_.intermediate), hidden);
    free_rows(list);
    list.matmul("router weight gradient", c_.model.moe.num_experts, hidden, c_.tokens,
                c_.param_size);
    if (e_.shared_intermediate == 0) return;
    list.matmul("shared gate_up weight gradient", up_rows(c_, e_.shared_intermediate), hidden,
                c_.tokens, c_.param_size);
    if (b_.shared_gate > 0)
      list.matmul("shared gate weight gradient", 1, hidden, c_.tokens, c_.param_size);
  }

  void free_saved(OperationList& list) override {
    list.free("gate_up", kActivations, b_.gate_up);
    list.free("shared gate_up", kActivations, b_.shared_gate_up);
    forget(list);
  }

 private:
  void grouped(OperationList& list, const char* name, std::int64_t outputs, std::int64_t inputs) {
    list.grouped_matmul(name, e_.experts, e_.rows, outputs, inputs, c_.param_size);
  }

  void route(OperationList& list) {
    const std::int64_t experts = c_.model.moe.num_experts;
    list.allocate("routing", kActivations, b_.routing);
    list.matmul("router", c_.tokens, experts, c_.model.hidden_size, c_.param_size);
    list.elementwise("top_k", 2 * 4 * c_.tokens * experts);
  }

  /// What is kept of the rows until the backward pass, where they came from other ranks.
  MemoryClass rows_memory() const { return exchanges_ ? kActivations : kTemporaries; }

  /// The rows of the rank's experts, one expert's after the other's.
  void collect_rows(OperationList& list) {
    rows_at_hand_ = true;
    const std::int64_t sent = exchanges_ ? b_.message : b_.rows;
    list.allocate("expert rows", kTemporaries, sent);
    list.elementwise("permute", 2 * b_.rows);
    if (!exchanges_) return;
    list.allocate("received routing", kActivations, b_.received_routing);
    exchange(list, "expert rows", sent, b_.rows, kActivations);
  }

  void free_rows(OperationList& list) {
    rows_at_hand_ = false;
    list.free("expert rows", rows_memory(), b_.rows);
  }

  /// Sends rows to the ranks of their experts, and sorts by expert what comes from them: buffers of
  /// `sent` bytes on both sides, and of `sorted` bytes for the result.
  void exchange(OperationList& list, const char* name, std::int64_t sent, std::int64_t sorted,
                MemoryClass memory) {
    list.allocate("received rows", kTemporaries, sent);
    list.collective(name, CollectiveKind::kAllToAll, Axis::kEp, sent, Stream::kEp);
    list.free(name, kTemporaries, sent);
    list.allocate(name, memory, sorted);
    list.elementwise("sort rows", 2 * b_.rows);
    list.free("received rows", kTemporaries, sent);
  }

  /// The way back of rows, in messages of `sent` bytes; they are "returned rows" then.
  void send_back(OperationList& list, const char* name, std::int64_t sent) {
    if (!exchanges_) return;
    list.allocate("rows to return", kTemporaries, sent);
    list.elementwise("unsort rows", 2 * b_.rows);
    list.free(name, kTemporaries, b_.rows);
    list.allocate("returned rows", kTemporaries, sent);
    list.collective(name, CollectiveKind::kAllToAll, Axis::kEp, sent, Stream::kEp);
    list.free("rows to return", kTemporaries, sent);
  }

  void multiply_up(OperationList& list) {
    list.allocate("gate_up", kActivations, b_.gate_up);
    grouped(list, "experts gate_up", up_rows(c_, e_.intermediate), c_.model.hidden_size);
  }

  void activate(OperationList& list) {
    list.allocate("gated", kTemporaries, b_.gated);
    list.elementwise("weighted swiglu", b_.gate_up + b_.gated);
  }

  void multiply_shared_up(OperationList& list) {
    list.allocate("shared gate_up", kActivations, b_.shared_gate_up);
    list.matmul("shared gate_up", c_.tokens, up_rows(c_, e_.shared_intermediate),
                c_.model.hidden_size, c_.param_size);
  }

  void read_shared(OperationList& list) {
    if (e_.shared_intermediate == 0) return;
    multiply_shared_up(list);
    if (b_.shared_gate == 0) return;
    list.allocate("shared gate", kActivations, b_.shared_gate);
    list.matmul("shared gate", c_.tokens, 1, c_.model.hidden_size, c_.param_size);
  }

  void activate_shared(OperationList& list) {
    list.allocate("shared gated", kTemporaries, b_.shared_gated);
    list.elementwise("shared swiglu", b_.shared_gate_up + b_.shared_gated);
  }

  const StepContext& c_;
  ActivationSizes a_;
  ExpertSizes e_;
  ExpertBytes b_;
  Recompute recompute_;
  /// Whether rows go to experts of other ranks.
  bool exchanges_;
  bool rows_at_hand_;
};

}  // namespace

std::unique_ptr<Branch> make_experts(const StepContext& context, const Recompute& recompute) {
  return std::make_unique<Experts>(context, recompute);
}

}  // namespace meshplan::planner
