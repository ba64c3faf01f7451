#include "executor/layers/attention_layer.h"

#include <ATen/ATen.h>

#include <optional>

#include "executor/kernels/qk_norm.h"
#include "executor/kernels/rms_norm.h"
#include "executor/kernels/vector_loops.h"
#include "executor/layers/linear.h"
#include "executor/layers/normed_rows.h"

namespace meshplan::executor {
namespace {

/// Where the heads of each kind lie in a row of qkv, and how rows become batches.
struct HeadLayout {
  HeadLayout(const BlockWeights& weights, const RopeTable& rope)
      : sequence(rope.sequence()),
        head_dim(rope.head_dim()),
        q_width(weights.o_proj.size(1)),
        kv_width((weights.qkv.size(0) - q_width) / 2) {}

  std::int64_t sequence;
  std::int64_t head_dim;
  std::int64_t q_width;
  std::int64_t kv_width;

  at::Tensor q_of(const at::Tensor& rows) const { return rows.narrow(1, 0, q_width); }
  at::Tensor k_of(const at::Tensor& rows) const { return rows.narrow(1, q_width, kv_width); }
  at::Tensor v_of(const at::Tensor& rows) const {
    return rows.narrow(1, q_width + kv_width, kv_width);
  }

  /// [T, heads D] as [b, heads, s, D].
  at::Tensor batched(const at::Tensor& rows) const {
    return rows.view({rows.size(0) / sequence, sequence, rows.size(1) / head_dim, head_dim})
        .transpose(1, 2);
  }
  /// The inverse; a view where the memory is [b, s, heads, D].
  at::Tensor rows_of(const at::Tensor& heads) const {
    return heads.transpose(1, 2).reshape({heads.size(0) * sequence, heads.size(1) * head_dim});
  }
};

/// [T, (H + K) D], q and k after norm and rotation.
at::Tensor normed_and_rotated(const BlockWeights& weights, const BlockContext& context,
                              const HeadLayout& layout, const at::Tensor& qkv) {
  at::Tensor qk = at::empty({qkv.size(0), layout.q_width + layout.kv_width}, qkv.options());
  norm_and_rotate(context.rope, layout.q_of(qkv), weights.q_norm, context.rms_norm_eps,
                  layout.q_of(qk));
  norm_and_rotate(context.rope, layout.k_of(qkv), weights.k_norm, context.rms_norm_eps,
                  layout.k_of(qk));
  return qk;
}

/// Computes and saves qkv, rotated unless q and k are normed first.
void project_qkv(const BlockWeights& weights, const BlockContext& context, const HeadLayout& layout,
                 const at::Tensor& normed, AttentionSaved& saved) {
  saved.qkv = at::empty({normed.size(0), weights.qkv.size(0)}, normed.options());
  linear(normed, weights.qkv, weights.qkv_bias, saved.qkv);
  if (weights.q_norm.defined()) return;
  // One call turns queries and keys, which lie side by side.
  const at::Tensor qk = saved.qkv.narrow(1, 0, layout.q_width + layout.kv_width);
  rotate(context.rope, Rotation::kForward, qk, qk);
}

AttentionOutput attend(const BlockWeights& weights, const BlockContext& context,
                       const HeadLayout& layout, const at::Tensor& qkv) {
  const at::Tensor qk =
      weights.q_norm.defined() ? normed_and_rotated(weights, context, layout, qkv) : qkv;
  return causal_attention(layout.batched(layout.q_of(qk)), layout.batched(layout.k_of(qk)),
                          layout.batched(layout.v_of(qkv)));
}

AttentionGradients attend_backward(const BlockWeights& weights, const BlockContext& context,
                                   const HeadLayout& layout, const at::Tensor& qkv,
                                   const AttentionOutput& output, const at::Tensor& grad_out) {
  const at::Tensor qk =
      weights.q_norm.defined() ? normed_and_rotated(weights, context, layout, qkv) : qkv;
  return causal_attention_backward(layout.batched(grad_out), layout.batched(layout.q_of(qk)),
                                   layout.batched(layout.k_of(qk)),
                                   layout.batched(layout.v_of(qkv)), output);
}

/// qkv becomes its own gradient.
void write_qkv_gradient(const BlockWeights& weights, const BlockWeights& gradients,
                        const BlockContext& context, const HeadLayout& layout,
                        const AttentionGradients& heads, const at::Tensor& qkv) {
  const at::Tensor grad_q = layout.rows_of(heads.q);
  const at::Tensor grad_k = layout.rows_of(heads.k);
  if (weights.q_norm.defined()) {
    norm_and_rotate_backward(context.rope, layout.q_of(qkv), weights.q_norm, context.rms_norm_eps,
                             grad_q, gradients.q_norm);
    norm_and_rotate_backward(context.rope, layout.k_of(qkv), weights.k_norm, context.rms_norm_eps,
                             grad_k, gradients.k_norm);
  } else {
    rotate(context.rope, Rotation::kInverse, grad_q, layout.q_of(qkv));
    rotate(context.rope, Rotation::kInverse, grad_k, layout.k_of(qkv));
  }
  layout.v_of(qkv).copy_(layout.rows_of(heads.v));
}

/// The norm's output for this rank's rows.
at::Tensor normed_rows(const BlockWeights& weights, const BlockContext& context,
                       AttentionSaved& saved) {
  return executor::normed_rows(saved.x, weights.input_norm, context.rms_norm_eps, saved.rstd);
}

}  // namespace

at::Tensor forward_attention(const BlockWeights& weights, const BlockContext& context,
                             const planner::Recompute& drop, at::Tensor x, AttentionSaved& saved) {
  const HeadLayout layout(weights, context.rope);
  saved = {};
  saved.x = std::move(x);
  at::Tensor normed = RowGather(context.tp, normed_rows(weights, context, saved)).finish();
  project_qkv(weights, context, layout, normed, saved);
  normed.reset();

  saved.attention = attend(weights, context, layout, saved.qkv);
  if (drop.qkv) saved.qkv.reset();

  at::Tensor product =
      at::empty({saved.attention.out.numel() / layout.q_width, saved.x.size(1)}, saved.x.options());
  linear(layout.rows_of(saved.attention.out), weights.o_proj, /*bias=*/{}, product);
  if (drop.attention) saved = {.x = saved.x, .rstd = {}, .qkv = {}, .attention = {}};
  at::Tensor x2 = RowSum(context.tp, std::move(product)).finish();
  if (weights.o_bias.defined()) x2.add_(weights.o_bias);
  x2.add_(saved.x);
  return x2;
}

at::Tensor backward_attention(const BlockWeights& weights, const BlockWeights& gradients,
                              const BlockContext& context, AttentionSaved saved, at::Tensor grad) {
  const HeadLayout layout(weights, context.rope);
  linear_backward_bias(grad, gradients.o_bias);
  at::Tensor whole_grad = RowGather(context.tp, grad).finish();
  at::Tensor normed;
  if (!saved.qkv.defined()) {
    normed = RowGather(context.tp, normed_rows(weights, context, saved)).finish();
    project_qkv(weights, context, layout, normed, saved);
  }
  std::optional<RowGather> gathering;
  if (!normed.defined() && context.tp.splits_tokens())
    gathering.emplace(context.tp, normed_rows(weights, context, saved));

  at::Tensor grad_out = at::empty({whole_grad.size(0), layout.q_width}, grad.options());
  linear_backward_input(whole_grad, weights.o_proj, grad_out);
  linear_backward_weight(whole_grad, layout.rows_of(saved.attention.out), gradients.o_proj);
  whole_grad.reset();
  AttentionGradients heads =
      attend_backward(weights, context, layout, saved.qkv, saved.attention, grad_out);
  grad_out.reset();
  saved.attention = {};
  write_qkv_gradient(weights, gradients, context, layout, heads, saved.qkv);
  heads = {};

  at::Tensor grad_normed = at::empty({saved.qkv.size(0), grad.size(1)}, grad.options());
  linear_backward_input(saved.qkv, weights.qkv, grad_normed);
  RowSum summing(context.tp, std::move(grad_normed));
  if (gathering) normed = gathering->finish();
  if (!normed.defined()) normed = normed_rows(weights, context, saved);
  linear_backward_weight(saved.qkv, normed, gradients.qkv);
  linear_backward_bias(saved.qkv, gradients.qkv_bias);
  normed.reset();
  saved.qkv.reset();
  grad_normed = summing.finish();
  rms_norm_backward(saved.x, weights.input_norm, saved.rstd, grad_normed, grad,
                    gradients.input_norm);
  return grad;
}

}  // namespace meshplan::executor
