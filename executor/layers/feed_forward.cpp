#include "executor/layers/feed_forward.h"

#include <ATen/ATen.h>

#include "executor/kernels/rms_norm.h"
#include "executor/kernels/swiglu.h"
#include "executor/kernels/vector_loops.h"
#include "executor/layers/linear.h"

namespace meshplan::executor {

at::Tensor forward_feed_forward(const BlockWeights& weights, const BlockContext& context,
                                at::Tensor x, FeedForwardSaved& saved) {
  const std::int64_t tokens = x.size(0);
  saved.x = std::move(x);
  saved.rstd = at::empty({tokens}, saved.x.options().dtype(statistics_type(saved.x.scalar_type())));
  at::Tensor normed = at::empty_like(saved.x);
  rms_norm(saved.x, weights.post_attention_norm, context.rms_norm_eps, normed, saved.rstd);

  saved.gate_up = at::empty({tokens, weights.gate_up.size(0)}, saved.x.options());
  linear(normed, weights.gate_up, /*bias=*/{}, saved.gate_up);
  normed.reset();

  at::Tensor act = at::empty({tokens, weights.down.size(1)}, saved.x.options());
  swiglu(saved.gate_up, act);
  at::Tensor y = at::empty_like(saved.x);
  linear(act, weights.down, /*bias=*/{}, y);
  act.reset();
  context.tp.all_reduce(y, ReduceOp::kSum).wait();
  y.add_(saved.x);
  return y;
}

at::Tensor backward_feed_forward(const BlockWeights& weights, const BlockWeights& gradients,
                                 const BlockContext& context, FeedForwardSaved saved,
                                 at::Tensor grad) {
  at::Tensor act = at::empty({grad.size(0), weights.down.size(1)}, grad.options());
  swiglu(saved.gate_up, act);
  linear_backward_weight(grad, act, gradients.down);
  linear_backward_input(grad, weights.down, act);
  swiglu_backward(saved.gate_up, act);
  act.reset();

  at::Tensor grad_normed = at::empty_like(saved.x);
  linear_backward_input(saved.gate_up, weights.gate_up, grad_normed);
  Pending reduced = context.tp.all_reduce(grad_normed, ReduceOp::kSum);
  at::Tensor normed = at::empty_like(saved.x);
  apply_rms_norm(saved.x, weights.post_attention_norm, saved.rstd, normed);
  linear_backward_weight(saved.gate_up, normed, gradients.gate_up);
  normed.reset();
  saved.gate_up.reset();
  reduced.wait();
  rms_norm_backward(saved.x, weights.post_attention_norm, saved.rstd, grad_normed, grad,
                    gradients.post_attention_norm);
  return grad;
}

}  // namespace meshplan::executor
