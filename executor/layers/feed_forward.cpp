#include "executor/layers/feed_forward.h"

#include <ATen/ATen.h>

#include <optional>

#include "executor/kernels/rms_norm.h"
#include "executor/kernels/swiglu.h"
#include "executor/kernels/vector_loops.h"
#include "executor/layers/linear.h"
#include "executor/layers/normed_rows.h"

namespace meshplan::executor {
namespace {

/// The norm's output for this rank's rows.
at::Tensor normed_rows(const BlockWeights& weights, const BlockContext& context,
                       FeedForwardSaved& saved) {
  return executor::normed_rows(saved.x, weights.post_attention_norm, context.rms_norm_eps,
                               saved.rstd);
}

/// Computes and saves gate_up; returns the norm's output, whole.
at::Tensor project_gate_up(const BlockWeights& weights, const BlockContext& context,
                           FeedForwardSaved& saved) {
  at::Tensor normed = RowGather(context.tp, normed_rows(weights, context, saved)).finish();
  saved.gate_up = at::empty({normed.size(0), weights.gate_up.size(0)}, normed.options());
  linear(normed, weights.gate_up, /*bias=*/{}, saved.gate_up);
  return normed;
}

}  // namespace

at::Tensor forward_feed_forward(const BlockWeights& weights, const BlockContext& context,
                                const planner::Recompute& drop, at::Tensor x,
                                FeedForwardSaved& saved) {
  saved = {};
  saved.x = std::move(x);
  project_gate_up(weights, context, saved).reset();

  const std::int64_t tokens = saved.gate_up.size(0);
  at::Tensor act = at::empty({tokens, weights.down.size(1)}, saved.x.options());
  swiglu(saved.gate_up, act);
  if (drop.gate_up) saved.gate_up.reset();
  at::Tensor product = at::empty({tokens, saved.x.size(1)}, saved.x.options());
  linear(act, weights.down, /*bias=*/{}, product);
  act.reset();
  at::Tensor y = RowSum(context.tp, std::move(product)).finish();
  y.add_(saved.x);
  if (drop.attention) saved = {};
  return y;
}

at::Tensor backward_feed_forward(const BlockWeights& weights, const BlockWeights& gradients,
                                 const BlockContext& context, FeedForwardSaved saved,
                                 at::Tensor grad) {
  at::Tensor whole_grad = RowGather(context.tp, grad).finish();
  at::Tensor normed;
  if (!saved.gate_up.defined()) normed = project_gate_up(weights, context, saved);
  std::optional<RowGather> gathering;
  if (!normed.defined() && context.tp.splits_tokens())
    gathering.emplace(context.tp, normed_rows(weights, context, saved));

  at::Tensor act = at::empty({whole_grad.size(0), weights.down.size(1)}, grad.options());
  swiglu(saved.gate_up, act);
  linear_backward_weight(whole_grad, act, gradients.down);
  linear_backward_input(whole_grad, weights.down, act);
  whole_grad.reset();
  swiglu_backward(saved.gate_up, act);
  act.reset();

  at::Tensor grad_normed = at::empty({saved.gate_up.size(0), grad.size(1)}, grad.options());
  linear_backward_input(saved.gate_up, weights.gate_up, grad_normed);
  RowSum summing(context.tp, std::move(grad_normed));
  if (gathering) normed = gathering->finish();
  if (!normed.defined()) normed = normed_rows(weights, context, saved);
  linear_backward_weight(saved.gate_up, normed, gradients.gate_up);
  normed.reset();
  saved.gate_up.reset();
  grad_normed = summing.finish();
  rms_norm_backward(saved.x, weights.post_attention_norm, saved.rstd, grad_normed, grad,
                    gradients.post_attention_norm);
  return grad;
}

}  // namespace meshplan::executor
