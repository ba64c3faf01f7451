#include "planner/program/expand_compute.h"

#include <algorithm>

#include "common/checked.h"

namespace meshplan::planner {
namespace {

using enum MemoryClass;

/// Bytes of one microbatch's activations on one rank. Statistics (reciprocal norms, log-sum-exps)
/// are float32.
struct ActivationSizes {
  std::int64_t hidden;
  std::int64_t qkv;
  std::int64_t queries;
  std::int64_t rotated;
  std::int64_t log_sum_exp;
  std::int64_t gate_up;
  std::int64_t gated;
  std::int64_t norm_statistics;
};

ActivationSizes sizes_of(const StepContext& c) {
  const std::int64_t row = c.tokens * c.param_size;
  const std::int64_t queries = c.heads * c.model.head_dim;
  const std::int64_t keys = c.kv_heads * c.model.head_dim;
  return {.hidden = row * c.model.hidden_size,
          .qkv = row * (queries + 2 * keys),
          .queries = row * queries,
          .rotated = c.model.qk_norm ? row * (queries + keys) : 0,
          .log_sum_exp = 4 * c.tokens * c.heads,
          .gate_up = row * 2 * c.intermediate,
          .gated = row * c.intermediate,
          .norm_statistics = 4 * c.tokens};
}

/// Causal attention: two matrix multiplies over half of the score matrix forward, five backward
/// (Dao 2023, arXiv 2307.08691).
common::Flops attention_flops(const StepContext& c, double matmuls) {
  return common::Flops(matmuls * static_cast<double>(c.tokens) *
                       static_cast<double>(c.job.seq_length) *
                       static_cast<double>(c.heads * c.model.head_dim));
}

/// Scratch of torch's CPU flash attention for one thread, which tiles queries by 32, 64 or 256 and
/// keys by 512. GPUs: none of note.
std::int64_t attention_workspace(const StepContext& c, bool backward) {
  if (c.device != DeviceKind::kCpu) return 0;
  const std::int64_t seq = c.job.seq_length;
  const std::int64_t keys = std::min<std::int64_t>(512, seq);
  const std::int64_t queries =
      std::min<std::int64_t>(seq >= 768 ? 256 : (seq >= 192 ? 64 : 32), seq);
  if (backward) return 4 * (2 * queries * keys + queries);
  return 4 * (queries * keys + 2 * queries + queries * c.model.head_dim);
}

void all_reduce_tp(OperationList& list, const StepContext& c, const char* name,
                   std::int64_t bytes) {
  if (c.layout.mesh.sizes[Axis::kTp] > 1) {
    list.collective(name, CollectiveKind::kAllReduce, Axis::kTp, bytes, Stream::kTp);
  }
}

void issue_all_reduce_tp(OperationList& list, const StepContext& c, const char* name,
                         std::int64_t bytes) {
  if (c.layout.mesh.sizes[Axis::kTp] > 1) {
    list.issue(name, CollectiveKind::kAllReduce, Axis::kTp, bytes, Stream::kTp);
  }
}

void expand_attention_forward(OperationList& list, const StepContext& c, const ActivationSizes& a) {
  const std::int64_t queries = c.heads * c.model.head_dim;
  list.allocate("input norm statistics", kActivations, a.norm_statistics);
  list.allocate("norm output", kTemporaries, a.hidden);
  list.elementwise("input_norm", 2 * a.hidden);
  list.allocate("qkv", kActivations, a.qkv);
  list.matmul("qkv", c.tokens, queries + 2 * c.kv_heads * c.model.head_dim, c.model.hidden_size,
              c.param_size);
  list.free("norm output", kTemporaries, a.hidden);
  list.allocate("rotated", kTemporaries, a.rotated);
  list.elementwise("rope", 2 * (a.rotated > 0 ? a.rotated : a.qkv));
  list.allocate("attention output", kActivations, a.queries);
  list.allocate("log_sum_exp", kActivations, a.log_sum_exp);
  list.allocate("attention workspace", kTemporaries, attention_workspace(c, false));
  list.attention("attention", attention_flops(c, 2), a.qkv + a.queries);
  list.free("attention workspace", kTemporaries, attention_workspace(c, false));
  list.free("rotated", kTemporaries, a.rotated);
  list.allocate("attention residual", kActivations, a.hidden);
  list.matmul("attention_output", c.tokens, c.model.hidden_size, queries, c.param_size);
  all_reduce_tp(list, c, "attention_output", a.hidden);
  list.elementwise("attention_residual", 3 * a.hidden);
}

void expand_mlp_forward(OperationList& list, const StepContext& c, const ActivationSizes& a) {
  list.allocate("post-attention norm statistics", kActivations, a.norm_statistics);
  list.allocate("norm output", kTemporaries, a.hidden);
  list.elementwise("post_attention_norm", 2 * a.hidden);
  list.allocate("gate_up", kActivations, a.gate_up);
  list.matmul("gate_up", c.tokens, 2 * c.intermediate, c.model.hidden_size, c.param_size);
  list.free("norm output", kTemporaries, a.hidden);
  list.allocate("gated", kTemporaries, a.gated);
  list.elementwise("swiglu", 3 * a.gated);
  list.allocate("block output", kActivations, a.hidden);
  list.matmul("down", c.tokens, c.model.hidden_size, c.intermediate, c.param_size);
  list.free("gated", kTemporaries, a.gated);
  all_reduce_tp(list, c, "down", a.hidden);
  list.elementwise("mlp_residual", 3 * a.hidden);
}

/// Input and weight gradients of a column-parallel linear layer below a norm: the all-reduce of the
/// input gradient runs beside the weight gradient.
struct ColumnLinear {
  const char* input_gradient;
  const char* norm;
  const char* weight_gradient;
  const char* norm_backward;
  std::int64_t rows;
  MemoryClass output_memory;
  std::int64_t output_bytes;
};

void expand_column_linear_backward(OperationList& list, const StepContext& c,
                                   const ActivationSizes& a, const ColumnLinear& linear) {
  list.allocate("norm output gradient", kTemporaries, a.hidden);
  list.matmul(linear.input_gradient, c.tokens, c.model.hidden_size, linear.rows, c.param_size);
  issue_all_reduce_tp(list, c, linear.input_gradient, a.hidden);
  list.allocate("norm output", kTemporaries, a.hidden);
  list.elementwise(linear.norm, 2 * a.hidden);
  list.matmul(linear.weight_gradient, linear.rows, c.model.hidden_size, c.tokens, c.param_size);
  list.free("norm output", kTemporaries, a.hidden);
  list.free("linear output", linear.output_memory, linear.output_bytes);
  if (c.layout.mesh.sizes[Axis::kTp] > 1) list.join();
  list.elementwise(linear.norm_backward, 4 * a.hidden);
  list.free("norm output gradient", kTemporaries, a.hidden);
  list.free("norm input", kActivations, a.hidden);
  list.free("norm statistics", kActivations, a.norm_statistics);
}

void expand_attention_backward(OperationList& list, const StepContext& c,
                               const ActivationSizes& a) {
  const std::int64_t queries = c.heads * c.model.head_dim;
  const std::int64_t keys = c.kv_heads * c.model.head_dim;
  if (c.model.attention_output_bias) list.elementwise("attention_output bias gradient", a.hidden);
  list.allocate("attention output gradient", kTemporaries, a.queries);
  list.matmul("attention_output input gradient", c.tokens, queries, c.model.hidden_size,
              c.param_size);
  list.matmul("attention_output weight gradient", c.model.hidden_size, queries, c.tokens,
              c.param_size);
  list.allocate("rotated", kTemporaries, a.rotated);
  if (a.rotated > 0) list.elementwise("rope", 2 * a.rotated);
  list.allocate("qkv gradient", kTemporaries, a.qkv);
  list.allocate("attention workspace", kTemporaries, attention_workspace(c, true));
  list.attention("attention backward", attention_flops(c, 5), 2 * a.qkv + 2 * a.queries);
  list.free("attention workspace", kTemporaries, attention_workspace(c, true));
  list.free("rotated", kTemporaries, a.rotated);
  list.free("attention output gradient", kTemporaries, a.queries);
  list.free("attention output", kActivations, a.queries);
  list.free("log_sum_exp", kActivations, a.log_sum_exp);
  list.elementwise("rope backward", 2 * a.qkv);
  list.free("qkv gradient", kTemporaries, a.qkv);
  expand_column_linear_backward(list, c, a,
                                {"qkv input gradient", "input_norm", "qkv weight gradient",
                                 "input_norm backward", queries + 2 * keys, kActivations, a.qkv});
}

}  // namespace

void expand_embedding_forward(OperationList& list, const StepContext& c) {
  const ActivationSizes a = sizes_of(c);
  list.allocate("embedding output", kActivations, a.hidden);
  list.elementwise("embedding", 2 * a.hidden);
  all_reduce_tp(list, c, "embedding", a.hidden);
}

void expand_embedding_backward(OperationList& list, const StepContext& c) {
  const ActivationSizes a = sizes_of(c);
  const std::int64_t gradient = c.embedding.elements * c.param_size;
  if (!c.model.tie_word_embeddings) {
    list.allocate("unit gradient", kGradients, gradient);
    list.elementwise("embedding gradient zero", gradient);
  }
  list.elementwise("embedding backward", 3 * a.hidden);
  list.free("embedding output gradient", kTemporaries, a.hidden);
}

void expand_block_forward(OperationList& list, const StepContext& c) {
  const ActivationSizes a = sizes_of(c);
  expand_attention_forward(list, c, a);
  expand_mlp_forward(list, c, a);
}

void expand_block_backward(OperationList& list, const StepContext& c) {
  const ActivationSizes a = sizes_of(c);
  list.allocate("unit gradient", kGradients, c.block.elements * c.param_size);
  list.allocate("gated", kTemporaries, a.gated);
  list.elementwise("swiglu", 3 * a.gated);
  list.matmul("down weight gradient", c.model.hidden_size, c.intermediate, c.tokens, c.param_size);
  list.matmul("down input gradient", c.tokens, c.intermediate, c.model.hidden_size, c.param_size);
  list.elementwise("swiglu backward", 5 * a.gated);
  list.free("gated", kTemporaries, a.gated);
  expand_column_linear_backward(
      list, c, a,
      {"gate_up input gradient", "post_attention_norm", "gate_up weight gradient",
       "post_attention_norm backward", 2 * c.intermediate, kActivations, a.gate_up});
  expand_attention_backward(list, c, a);
}

void expand_loss(OperationList& list, const StepContext& c) {
  const ActivationSizes a = sizes_of(c);
  const std::int64_t hidden = c.model.hidden_size;
  const std::int64_t gradient = c.head.elements * c.param_size;
  const bool converts = c.job.param_dtype != common::DataType::kFloat32;
  const std::int64_t wide_gradient =
      converts && c.layout.loss_chunks > 1 ? 4 * c.vocab_rows * hidden : 0;
  list.allocate("unit gradient", kGradients, gradient);
  list.allocate("final norm statistics", kTemporaries, a.norm_statistics);
  list.allocate("norm output", kTemporaries, a.hidden);
  list.elementwise("final_norm", 2 * a.hidden);
  list.allocate("norm output gradient", kTemporaries, a.hidden);
  list.allocate("head gradient, float32", kTemporaries, wide_gradient);
  const std::int64_t chunk = common::ceil_divide(c.tokens, c.layout.loss_chunks);
  for (std::int64_t begin = 0; begin < c.tokens; begin += chunk) {
    const std::int64_t rows = std::min(chunk, c.tokens - begin);
    const std::int64_t logits = rows * c.vocab_rows * c.param_size;
    const std::int64_t wide_logits = converts ? rows * c.vocab_rows * 4 : 0;
    const std::int64_t working = 4 * rows * c.vocab_rows;
    list.allocate("loss statistics", kLogits, 12 * rows);
    list.allocate("logits", kLogits, logits);
    list.matmul("output_head", rows, c.vocab_rows, hidden, c.param_size);
    list.allocate("logits, float32", kLogits, wide_logits);
    list.elementwise("logits max", (converts ? 2 : 1) * working);
    all_reduce_tp(list, c, "logits max", 4 * rows);
    list.elementwise("logits sum", 2 * working);
    all_reduce_tp(list, c, "logits sum", 8 * rows);
    list.elementwise("cross_entropy", 2 * working);
    list.free("logits, float32", kLogits, wide_logits);
    list.matmul("output_head input gradient", rows, hidden, c.vocab_rows, c.param_size);
    list.matmul("output_head weight gradient", c.vocab_rows, hidden, rows, c.param_size);
    list.free("logits", kLogits, logits);
    list.free("loss statistics", kLogits, 12 * rows);
  }
  if (wide_gradient > 0) list.elementwise("head gradient convert", wide_gradient + gradient);
  list.free("head gradient, float32", kTemporaries, wide_gradient);
  all_reduce_tp(list, c, "output_head input gradient", a.hidden);
  list.elementwise("final_norm backward", 3 * a.hidden);
  list.free("norm output", kTemporaries, a.hidden);
  list.free("final norm statistics", kTemporaries, a.norm_statistics);
  list.free("head input", kActivations, a.hidden);
}

}  // namespace meshplan::planner
