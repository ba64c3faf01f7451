#include "planner/program/expand_compute.h"

#include <algorithm>

#include "common/checked.h"

namespace meshplan::planner {
namespace {

using enum MemoryClass;

/// Bytes of one microbatch's activations on one rank. Statistics (reciprocal norms, log-sum-exps)
/// are float32.
struct ActivationSizes {
  /// [T, h], and the rank's share of its rows under sequence parallelism.
  std::int64_t hidden;
  std::int64_t residual;
  std::int64_t qkv;
  std::int64_t queries;
  std::int64_t rotated;
  std::int64_t log_sum_exp;
  std::int64_t gate_up;
  std::int64_t gated;
  std::int64_t norm_statistics;
};

/// Gate and up in one matrix, or up alone.
std::int64_t up_rows(const StepContext& c) {
  return (c.model.gated_feed_forward ? 2 : 1) * c.intermediate;
}

bool has_rotary(const StepContext& c) { return c.model.positions == Positions::kRotary; }

ActivationSizes sizes_of(const StepContext& c) {
  const std::int64_t row = c.tokens * c.param_size;
  const std::int64_t queries = c.heads * c.model.head_dim;
  const std::int64_t keys = c.kv_heads * c.model.head_dim;
  return {.hidden = row * c.model.hidden_size,
          .residual = c.residual_tokens * c.param_size * c.model.hidden_size,
          .qkv = row * (queries + 2 * keys),
          .queries = row * queries,
          .rotated = c.model.qk_norm ? row * (queries + keys) : 0,
          .log_sum_exp = 4 * c.tokens * c.heads,
          .gate_up = row * up_rows(c),
          .gated = row * c.intermediate,
          // A layer norm keeps the mean as well.
          .norm_statistics = (c.model.norm == NormKind::kRms ? 4 : 8) * c.residual_tokens};
}

/// Causal attention: two matrix multiplies over half of the score matrix forward, five backward
/// (Dao 2023, arXiv 2307.08691).
common::Flops attention_flops(const StepContext& c, double matmuls) {
  return common::Flops(matmuls * static_cast<double>(c.tokens) *
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

bool has_tp(const StepContext& c) { return c.layout.mesh.sizes[Axis::kTp] > 1; }

void all_reduce_tp(OperationList& list, const StepContext& c, const char* name,
                   std::int64_t bytes) {
  if (has_tp(c)) list.collective(name, CollectiveKind::kAllReduce, Axis::kTp, bytes, Stream::kTp);
}

/// The rows of all ranks from the rank's own, which die; nothing without sequence parallelism.
void gather_rows(OperationList& list, const StepContext& c, const char* name, const char* rows,
                 MemoryClass rows_memory) {
  if (!c.splits_tokens()) return;
  const ActivationSizes a = sizes_of(c);
  list.allocate(name, kTemporaries, a.hidden);
  list.collective(name, CollectiveKind::kAllGather, Axis::kTp, a.hidden, Stream::kTp);
  list.free(rows, rows_memory, a.residual);
}

/// The sum over tp of a row-parallel product [T, h]: in place, or as the rank's share of its rows
/// beside it, after which the product dies.
struct RowSum {
  const char* name;
  /// The class of the result.
  MemoryClass memory;

  void allocate_product(OperationList& list, const StepContext& c) const {
    list.allocate(name, c.splits_tokens() ? kTemporaries : memory, sizes_of(c).hidden);
  }
  void issue(OperationList& list, const StepContext& c) const {
    const ActivationSizes a = sizes_of(c);
    if (c.splits_tokens()) list.allocate(name, memory, a.residual);
    if (!has_tp(c)) return;
    const auto kind =
        c.splits_tokens() ? CollectiveKind::kReduceScatter : CollectiveKind::kAllReduce;
    list.issue(name, kind, Axis::kTp, a.hidden, Stream::kTp);
  }
  void finish(OperationList& list, const StepContext& c) const {
    if (has_tp(c)) list.join();
    if (c.splits_tokens()) list.free(name, kTemporaries, sizes_of(c).hidden);
  }
};

void free_norm_output(OperationList& list, const StepContext& c) {
  const ActivationSizes a = sizes_of(c);
  list.free("norm output", kTemporaries, c.splits_tokens() ? a.hidden : a.residual);
}

/// A norm's output as its linear layer reads it, whole on every rank.
void expand_norm(OperationList& list, const StepContext& c, const char* name) {
  const ActivationSizes a = sizes_of(c);
  list.allocate("norm output", kTemporaries, a.residual);
  list.elementwise(name, 2 * a.residual);
  gather_rows(list, c, name, "norm output", kTemporaries);
}

void expand_qkv(OperationList& list, const StepContext& c, const ActivationSizes& a) {
  list.allocate("qkv", kActivations, a.qkv);
  list.matmul("qkv", c.tokens, (c.heads + 2 * c.kv_heads) * c.model.head_dim, c.model.hidden_size,
              c.param_size);
  if (a.rotated == 0 && has_rotary(c)) list.elementwise("rope", 2 * a.qkv);
}

/// From x to x2; keeps what `drop` leaves.
void expand_attention_forward(OperationList& list, const StepContext& c, const ActivationSizes& a,
                              const Recompute& drop) {
  const std::int64_t queries = c.heads * c.model.head_dim;
  list.allocate("input norm statistics", kActivations, a.norm_statistics);
  expand_norm(list, c, "input_norm");
  expand_qkv(list, c, a);
  free_norm_output(list, c);
  list.allocate("rotated", kTemporaries, a.rotated);
  if (a.rotated > 0) list.elementwise("rope", 2 * a.rotated);
  list.allocate("attention output", kActivations, a.queries);
  list.allocate("log_sum_exp", kActivations, a.log_sum_exp);
  gather_keys_and_values(list, c);
  list.allocate("attention workspace", kTemporaries, attention_workspace(c, false));
  list.attention("attention", attention_flops(c, 2), a.qkv + a.queries);
  list.free("attention workspace", kTemporaries, attention_workspace(c, false));
  list.free("whole keys and values", kTemporaries, whole_keys_and_values(c));
  list.free("rotated", kTemporaries, a.rotated);
  if (drop.qkv) list.free("qkv", kActivations, a.qkv);
  const RowSum sum{"attention_output", kActivations};
  sum.allocate_product(list, c);
  list.matmul("attention_output", c.tokens, c.model.hidden_size, queries, c.param_size);
  if (drop.attention) {
    list.free("attention output", kActivations, a.queries);
    list.free("log_sum_exp", kActivations, a.log_sum_exp);
    list.free("input norm statistics", kActivations, a.norm_statistics);
  }
  sum.issue(list, c);
  sum.finish(list, c);
  list.elementwise("attention_residual", 3 * a.residual);
}

void expand_gate_up(OperationList& list, const StepContext& c, const ActivationSizes& a) {
  list.allocate("gate_up", kActivations, a.gate_up);
  list.matmul("gate_up", c.tokens, up_rows(c), c.model.hidden_size, c.param_size);
}

/// silu(gate) x up, or the activation of up alone.
void expand_activation(OperationList& list, const ActivationSizes& a) {
  list.allocate("gated", kTemporaries, a.gated);
  list.elementwise("swiglu", a.gate_up + a.gated);
}

void expand_mlp_forward(OperationList& list, const StepContext& c, const ActivationSizes& a,
                        const Recompute& drop) {
  list.allocate("post-attention norm statistics", kActivations, a.norm_statistics);
  expand_norm(list, c, "post_attention_norm");
  expand_gate_up(list, c, a);
  free_norm_output(list, c);
  expand_activation(list, a);
  if (drop.gate_up) list.free("gate_up", kActivations, a.gate_up);
  const RowSum sum{"down", kActivations};
  sum.allocate_product(list, c);
  list.matmul("down", c.tokens, c.model.hidden_size, c.intermediate, c.param_size);
  list.free("gated", kTemporaries, a.gated);
  sum.issue(list, c);
  sum.finish(list, c);
  list.elementwise("mlp_residual", 3 * a.residual);
  if (drop.attention) {
    list.free("attention residual", kActivations, a.residual);
    list.free("post-attention norm statistics", kActivations, a.norm_statistics);
  }
}

/// The gradient of the residual stream, whole on every rank, while a row-parallel layer's backward
/// pass reads it.
void gather_gradient(OperationList& list, const StepContext& c) {
  if (!c.splits_tokens()) return;
  const std::int64_t hidden = sizes_of(c).hidden;
  list.allocate("whole gradient of the residual stream", kTemporaries, hidden);
  list.collective("residual gradient", CollectiveKind::kAllGather, Axis::kTp, hidden, Stream::kTp);
}

void free_gathered_gradient(OperationList& list, const StepContext& c) {
  if (c.splits_tokens())
    list.free("whole gradient of the residual stream", kTemporaries, sizes_of(c).hidden);
}

/// The backward pass of a norm and the column-parallel linear layer that reads it. The norm's
/// output is computed once more: under sequence parallelism early, so that its all-gather runs
/// beside the work between; before that, where the linear layer's own output is computed again from
/// it.
struct ColumnLinear {
  const char* input_gradient;
  const char* norm;
  const char* weight_gradient;
  const char* norm_backward;
  std::int64_t rows;
  std::int64_t output_bytes;
  bool recomputes;

  /// Issued ahead; nothing where the norm's output is at hand already, or not to be gathered.
  void start(OperationList& list, const StepContext& c) const {
    if (recomputes || !c.splits_tokens()) return;
    const ActivationSizes a = sizes_of(c);
    list.allocate("norm output", kTemporaries, a.residual);
    list.elementwise(norm, 2 * a.residual);
    list.allocate("gathered norm output", kTemporaries, a.hidden);
    list.issue(norm, CollectiveKind::kAllGather, Axis::kTp, a.hidden, Stream::kTp);
  }

  /// `started` is the index of the collective that start() issued.
  void finish(OperationList& list, const StepContext& c, std::int32_t started) const {
    const ActivationSizes a = sizes_of(c);
    const RowSum sum{input_gradient, kTemporaries};
    sum.allocate_product(list, c);
    list.matmul(input_gradient, c.tokens, c.model.hidden_size, rows, c.param_size);
    sum.issue(list, c);
    const std::int32_t summed = list.last_collective();
    if (!recomputes && c.splits_tokens()) {
      list.join(started);
      list.free("norm output", kTemporaries, a.residual);
    } else if (!recomputes) {
      list.allocate("norm output", kTemporaries, a.residual);
      list.elementwise(norm, 2 * a.residual);
    }
    list.matmul(weight_gradient, rows, c.model.hidden_size, c.tokens, c.param_size);
    free_norm_output(list, c);
    list.free("linear output", kActivations, output_bytes);
    if (has_tp(c)) list.join(summed);
    if (c.splits_tokens()) list.free(input_gradient, kTemporaries, a.hidden);
    list.elementwise(norm_backward, 4 * a.residual);
    list.free("norm output gradient", kTemporaries, a.residual);
    list.free("norm input", kActivations, a.residual);
    list.free("norm statistics", kActivations, a.norm_statistics);
  }
};

void expand_mlp_backward(OperationList& list, const StepContext& c, const ActivationSizes& a,
                         const Recompute& recompute) {
  const ColumnLinear gate_up{"gate_up input gradient",
                             "post_attention_norm",
                             "gate_up weight gradient",
                             "post_attention_norm backward",
                             up_rows(c),
                             a.gate_up,
                             recompute.gate_up};
  if (c.model.feed_forward_bias) list.elementwise("down bias gradient", a.residual);
  gather_gradient(list, c);
  if (recompute.gate_up) {
    if (recompute.attention)
      list.allocate("post-attention norm statistics", kActivations, a.norm_statistics);
    expand_norm(list, c, "post_attention_norm");
    expand_gate_up(list, c, a);
  }
  gate_up.start(list, c);
  const std::int32_t started = list.last_collective();
  expand_activation(list, a);
  list.matmul("down weight gradient", c.model.hidden_size, c.intermediate, c.tokens, c.param_size);
  list.matmul("down input gradient", c.tokens, c.intermediate, c.model.hidden_size, c.param_size);
  free_gathered_gradient(list, c);
  // Reads the gradient and what the forward pass read, and writes the gradient of that.
  list.elementwise("swiglu backward", 2 * a.gate_up + a.gated);
  if (c.model.feed_forward_bias) list.elementwise("up bias gradient", a.gate_up);
  list.free("gated", kTemporaries, a.gated);
  gate_up.finish(list, c, started);
}

void expand_attention_backward(OperationList& list, const StepContext& c, const ActivationSizes& a,
                               const Recompute& recompute) {
  const std::int64_t queries = c.heads * c.model.head_dim;
  const std::int64_t keys = c.kv_heads * c.model.head_dim;
  // With the whole half computed again, qkv has been kept.
  const bool recomputes_qkv = recompute.qkv && !recompute.attention;
  const ColumnLinear qkv{"qkv input gradient",  "input_norm",       "qkv weight gradient",
                         "input_norm backward", queries + 2 * keys, a.qkv,
                         recomputes_qkv};
  if (c.model.attention_output_bias) list.elementwise("attention_output bias gradient", a.residual);
  gather_gradient(list, c);
  if (recomputes_qkv) {
    expand_norm(list, c, "input_norm");
    expand_qkv(list, c, a);
  }
  qkv.start(list, c);
  const std::int32_t started = list.last_collective();
  list.allocate("attention output gradient", kTemporaries, a.queries);
  list.matmul("attention_output input gradient", c.tokens, queries, c.model.hidden_size,
              c.param_size);
  list.matmul("attention_output weight gradient", c.model.hidden_size, queries, c.tokens,
              c.param_size);
  free_gathered_gradient(list, c);
  list.allocate("rotated", kTemporaries, a.rotated);
  if (a.rotated > 0) list.elementwise("rope", 2 * a.rotated);
  list.allocate("qkv gradient", kTemporaries, a.qkv);
  gather_keys_and_values(list, c);
  list.allocate("whole gradients of keys and values", kTemporaries, whole_keys_and_values(c));
  list.allocate("attention workspace", kTemporaries, attention_workspace(c, true));
  list.attention("attention backward", attention_flops(c, 5), 2 * a.qkv + 2 * a.queries);
  list.free("attention workspace", kTemporaries, attention_workspace(c, true));
  list.free("whole keys and values", kTemporaries, whole_keys_and_values(c));
  if (const std::int64_t whole = whole_keys_and_values(c); whole > 0) {
    list.collective("gradients of keys and values", CollectiveKind::kReduceScatter, Axis::kCp,
                    whole, Stream::kCp);
    list.free("whole gradients of keys and values", kTemporaries, whole);
  }
  list.free("rotated", kTemporaries, a.rotated);
  list.free("attention output gradient", kTemporaries, a.queries);
  list.free("attention output", kActivations, a.queries);
  list.free("log_sum_exp", kActivations, a.log_sum_exp);
  if (has_rotary(c)) list.elementwise("rope backward", 2 * a.qkv);
  list.free("qkv gradient", kTemporaries, a.qkv);
  qkv.finish(list, c, started);
}

}  // namespace

void expand_embedding_forward(OperationList& list, const StepContext& c) {
  const RowSum sum{"embedding", kActivations};
  sum.allocate_product(list, c);
  // Learned positions are added.
  const std::int64_t operands = c.model.positions == Positions::kLearned ? 3 : 2;
  list.elementwise("embedding", operands * sizes_of(c).hidden);
  sum.issue(list, c);
  sum.finish(list, c);
}

void expand_embedding_backward(OperationList& list, const StepContext& c) {
  const ActivationSizes a = sizes_of(c);
  const std::int64_t gradient = c.embedding.elements * c.param_size;
  if (!c.model.tie_word_embeddings) {
    list.allocate("unit gradient", kGradients, gradient);
    list.elementwise("embedding gradient zero", gradient);
  }
  gather_gradient(list, c);
  list.elementwise("embedding backward", 3 * a.hidden);
  free_gathered_gradient(list, c);
  list.free("embedding output gradient", kTemporaries, a.residual);
}

void expand_block_forward(OperationList& list, const StepContext& c, const Recompute& recompute) {
  const ActivationSizes a = sizes_of(c);
  expand_attention_forward(list, c, a, recompute);
  expand_mlp_forward(list, c, a, recompute);
}

void expand_block_backward(OperationList& list, const StepContext& c, const Recompute& recompute) {
  const ActivationSizes a = sizes_of(c);
  list.allocate("unit gradient", kGradients, c.block.elements * c.param_size);
  if (recompute.attention) expand_attention_forward(list, c, a, {});
  expand_mlp_backward(list, c, a, recompute);
  expand_attention_backward(list, c, a, recompute);
}

void expand_loss(OperationList& list, const StepContext& c) {
  const ActivationSizes a = sizes_of(c);
  const std::int64_t hidden = c.model.hidden_size;
  const std::int64_t gradient = c.head.elements * c.param_size;
  const bool converts = c.job.param_dtype != common::DataType::kFloat32;
  const std::int64_t wide_gradient =
      converts && c.layout.loss_chunks > 1 ? 4 * c.vocab_rows * hidden : 0;
  const RowSum sum{"output_head input gradient", kTemporaries};
  list.allocate("unit gradient", kGradients, gradient);
  list.allocate("final norm statistics", kTemporaries, a.norm_statistics);
  expand_norm(list, c, "final_norm");
  sum.allocate_product(list, c);
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
  free_norm_output(list, c);
  sum.issue(list, c);
  sum.finish(list, c);
  list.elementwise("final_norm backward", 3 * a.residual);
  list.free("final norm statistics", kTemporaries, a.norm_statistics);
  list.free("head input", kActivations, a.residual);
}

}  // namespace meshplan::planner
