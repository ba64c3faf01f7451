#include "executor/layers/attention_layer.h"

#include <ATen/ATen.h>

#include "executor/kernels/qk_norm.h"
#include "executor/kernels/rms_norm.h"
#include "executor/kernels/vector_loops.h"
#include "executor/layers/linear.h"

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

AttentionOutput attend(const BlockWeights& weights, const BlockContext& context,
                       const HeadLayout& layout, const at::Tensor& qkv) {
  const at::Tensor v = layout.batched(layout.v_of(qkv));
  if (weights.q_norm.defined()) {
    const at::Tensor qk = normed_and_rotated(weights, context, layout, qkv);
    return causal_attention(layout.batched(layout.q_of(qk)), layout.batched(layout.k_of(qk)), v);
  }
  // One call turns queries and keys, which lie side by side.
  const at::Tensor qk = qkv.narrow(1, 0, layout.q_width + layout.kv_width);
  rotate(context.rope, Rotation::kForward, qk, qk);
  return causal_attention(layout.batched(layout.q_of(qkv)), layout.batched(layout.k_of(qkv)), v);
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

}  // namespace

at::Tensor forward_attention(const BlockWeights& weights, const BlockContext& context, at::Tensor x,
                             AttentionSaved& saved) {
  const HeadLayout layout(weights, context.rope);
  const std::int64_t tokens = x.size(0);
  saved.x = std::move(x);
  saved.rstd = at::empty({tokens}, saved.x.options().dtype(statistics_type(saved.x.scalar_type())));
  at::Tensor normed = at::empty_like(saved.x);
  rms_norm(saved.x, weights.input_norm, context.rms_norm_eps, normed, saved.rstd);

  saved.qkv = at::empty({tokens, weights.qkv.size(0)}, saved.x.options());
  linear(normed, weights.qkv, weights.qkv_bias, saved.qkv);
  normed.reset();

  saved.attention = attend(weights, context, layout, saved.qkv);

  at::Tensor x2 = at::empty_like(saved.x);
  linear(layout.rows_of(saved.attention.out), weights.o_proj, /*bias=*/{}, x2);
  context.tp.all_reduce(x2, ReduceOp::kSum).wait();
  if (weights.o_bias.defined()) x2.add_(weights.o_bias);
  x2.add_(saved.x);
  return x2;
}

at::Tensor backward_attention(const BlockWeights& weights, const BlockWeights& gradients,
                              const BlockContext& context, AttentionSaved saved, at::Tensor grad) {
  const HeadLayout layout(weights, context.rope);
  linear_backward_bias(grad, gradients.o_bias);
  at::Tensor grad_out = at::empty({grad.size(0), layout.q_width}, grad.options());
  linear_backward_input(grad, weights.o_proj, grad_out);
  linear_backward_weight(grad, layout.rows_of(saved.attention.out), gradients.o_proj);

  AttentionGradients heads =
      attend_backward(weights, context, layout, saved.qkv, saved.attention, grad_out);
  grad_out.reset();
  saved.attention = {};
  write_qkv_gradient(weights, gradients, context, layout, heads, saved.qkv);
  heads = {};

  at::Tensor grad_normed = at::empty_like(saved.x);
  linear_backward_input(saved.qkv, weights.qkv, grad_normed);
  Pending reduced = context.tp.all_reduce(grad_normed, ReduceOp::kSum);
  at::Tensor normed = at::empty_like(saved.x);
  apply_rms_norm(saved.x, weights.input_norm, saved.rstd, normed);
  linear_backward_weight(saved.qkv, normed, gradients.qkv);
  linear_backward_bias(saved.qkv, gradients.qkv_bias);
  normed.reset();
  saved.qkv.reset();
  reduced.wait();
  rms_norm_backward(saved.x, weights.input_norm, saved.rstd, grad_normed, grad,
                    gradients.input_norm);
  return grad;
}

}  // namespace meshplan::executor
