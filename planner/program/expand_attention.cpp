#include <algorithm>

#include "planner/program/block_parts.h"
#include "planner/program/branch.h"

namespace meshplan::planner {
namespace {

using enum MemoryClass;

bool has_rotary(const StepContext& c) { return c.model.positions == Positions::kRotary; }

/// Causal attention: two matrix multiplies over half of the score matrix forward, five backward
/// (Dao 2023, arXiv 2307.08691); of blocks with a sliding window less.
common::Flops attention_flops(const StepContext& c, double matmuls) {
  return common::Flops(c.attention_share * matmuls * static_cast<double>(c.tokens) *
                       static_cast<double>(c.job.seq_length) *
                       static_cast<double>(c.heads * c.model.head_dim));
}

/// Scratch of torch's CPU flash attention in float32 for one thread, which tiles queries by 32, 64
/// or 256 and keys by 512.
std::int64_t flash_workspace(const StepContext& c, bool backward) {
  const std::int64_t seq = c.job.seq_length;
  const std::int64_t keys = std::min<std::int64_t>(512, seq);
  const std::int64_t queries =
      std::min<std::int64_t>(seq >= 768 ? 256 : (seq >= 192 ? 64 : 32), seq);
  if (backward) return 4 * (2 * queries * keys + queries);
  return 4 * (queries * keys + 2 * queries + queries * c.model.head_dim);
}

/// What attention allocates beside its results. On CPU shorter types are computed in float32, on
/// copies of queries, keys, values and output, backward of their gradients as well. GPUs: nothing
/// of note.
std::int64_t attention_workspace(const StepContext& c, bool backward) {
  if (c.device != DeviceKind::kCpu) return 0;
  const std::int64_t flash = flash_workspace(c, backward);
  if (c.job.param_dtype == common::DataType::kFloat32) return flash;
  const std::int64_t copies = 2 * (c.heads + c.kv_heads) * (backward ? 2 : 1);
  return flash + 4 * c.tokens * c.model.head_dim * copies;
}

/// Keys and values of whole sequences while attention reads them, gathered over cp, and on the way
/// back what is to be summed of their gradients (Dubey et al. 2024, arXiv 2407.21783, section
/// 3.3.2); 0 without cp.
std::int64_t whole_keys_and_values(const StepContext& c) {
  const std::int64_t cp = c.layout.mesh.sizes[Axis::kCp];
  return cp > 1 ? cp * c.tokens * 2 * c.kv_heads * c.model.head_dim * c.param_size : 0;
}

void gather_keys_and_values(OperationList& list, const StepContext& c) {
  const std::int64_t whole = whole_keys_and_values(c);
  if (whole == 0) return;
  list.allocate("whole keys and values", kTemporaries, whole);
  list.collective("keys and values", CollectiveKind::kAllGather, Axis::kCp, whole, Stream::kCp);
}

/// Under norms over all heads at once: the sum over tp of what a norm needs of each token, for
/// queries and keys.
void sum_head_statistics(OperationList& list, const StepContext& c) {
  if (c.model.qk_norm && c.model.qk_norm_shape == QkNormShape::kAllHeads)
    all_reduce_tp(list, c, "query and key norms", 2 * 4 * c.tokens);
}

class Attention : public Branch {
 public:
  Attention(const StepContext& context, const Recompute& recompute)
      : c_(context),
        a_(activation_sizes(context)),
        recompute_(recompute),
        queries_(context.heads * context.model.head_dim),
        qkv_rows_(queries_ + 2 * context.kv_heads * context.model.head_dim) {}

  void read(OperationList& list) override {
    list.allocate("qkv", kActivations, a_.qkv);
    list.matmul("qkv", c_.tokens, qkv_rows_, c_.model.hidden_size, c_.param_size);
    if (a_.rotated == 0 && has_rotary(c_)) list.elementwise("rope", 2 * a_.qkv);
  }

  void run(OperationList& list, const Recompute& drop) override {
    rotate(list);
    list.allocate("attention output", kActivations, a_.queries);
    list.allocate("log_sum_exp", kActivations, a_.log_sum_exp);
    gather_keys_and_values(list, c_);
    list.allocate("attention workspace", kTemporaries, attention_workspace(c_, false));
    list.attention("attention", attention_flops(c_, 2), a_.qkv + a_.queries);
    list.free("attention workspace", kTemporaries, attention_workspace(c_, false));
    list.free("whole keys and values", kTemporaries, whole_keys_and_values(c_));
    list.free("rotated", kTemporaries, a_.rotated);
    if (drop.qkv) list.free("qkv", kActivations, a_.qkv);
  }

  void write(OperationList& list) override {
    list.matmul("attention_output", c_.tokens, c_.model.hidden_size, queries_, c_.param_size);
  }

  void forget(OperationList& list) override {
    list.free("attention output", kActivations, a_.queries);
    list.free("log_sum_exp", kActivations, a_.log_sum_exp);
  }

  void recompute(OperationList& list) override {
    read(list);
    if (recompute_.attention) run(list, {});
  }

  void bias_gradient(OperationList& list) override {
    if (c_.model.attention_output_bias)
      list.elementwise("attention_output bias gradient", a_.residual);
  }

  void output_gradients(OperationList& list) override {
    list.allocate("attention output gradient", kTemporaries, a_.queries);
    list.matmul("attention_output input gradient", c_.tokens, queries_, c_.model.hidden_size,
                c_.param_size);
    list.matmul("attention_output weight gradient", c_.model.hidden_size, queries_, c_.tokens,
                c_.param_size);
  }

  void run_backward(OperationList& list) override {
    rotate(list);
    list.allocate("qkv gradient", kTemporaries, a_.qkv);
    gather_keys_and_values(list, c_);
    list.allocate("whole gradients of keys and values", kTemporaries, whole_keys_and_values(c_));
    list.allocate("attention workspace", kTemporaries, attention_workspace(c_, true));
    list.attention("attention backward", attention_flops(c_, 5), 2 * a_.qkv + 2 * a_.queries);
    list.free("attention workspace", kTemporaries, attention_workspace(c_, true));
    list.free("whole keys and values", kTemporaries, whole_keys_and_values(c_));
    if (const std::int64_t whole = whole_keys_and_values(c_); whole > 0) {
      list.collective("gradients of keys and values", CollectiveKind::kReduceScatter, Axis::kCp,
                      whole, Stream::kCp);
      list.free("whole gradients of keys and values", kTemporaries, whole);
    }
    list.free("rotated", kTemporaries, a_.rotated);
    list.free("attention output gradient", kTemporaries, a_.queries);
    forget(list);
    sum_head_statistics(list, c_);
    if (has_rotary(c_)) list.elementwise("rope backward", 2 * a_.qkv);
    list.free("qkv gradient", kTemporaries, a_.qkv);
  }

  void input_gradient(OperationList& list) override {
    list.matmul("qkv input gradient", c_.tokens, c_.model.hidden_size, qkv_rows_, c_.param_size);
  }

  void weight_gradients(OperationList& list) override {
    list.matmul("qkv weight gradient", qkv_rows_, c_.model.hidden_size, c_.tokens, c_.param_size);
  }

  void free_saved(OperationList& list) override { list.free("qkv", kActivations, a_.qkv); }

 private:
  /// Queries and keys normed and rotated, where they are not rotated in place.
  void rotate(OperationList& list) {
    list.allocate("rotated", kTemporaries, a_.rotated);
    sum_head_statistics(list, c_);
    if (a_.rotated > 0) list.elementwise("rope", 2 * a_.rotated);
  }

  const StepContext& c_;
  ActivationSizes a_;
  Recompute recompute_;
  std::int64_t queries_;
  std::int64_t qkv_rows_;
};

}  // namespace

std::unique_ptr<Branch> make_attention(const StepContext& context, const Recompute& recompute) {
  return std::make_unique<Attention>(context, recompute);
}

}  // namespace meshplan::planner
