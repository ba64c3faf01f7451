#pragma once

#include <ATen/core/Tensor.h>

#include "executor/layers/block_weights.h"
#include "planner/layout/layout.h"

/// The feed-forward half of a decoder block: x + down(swiglu(gate_up(rms_norm(x)))).
namespace meshplan::executor {

/// The saved list of the feed-forward half: e T (h + 2 f) + 4 T bytes at e bytes an element. Under
/// sequence parallelism x and rstd have this rank's rows alone.
struct FeedForwardSaved {
  at::Tensor x;        // [T, h]
  at::Tensor rstd;     // [T]
  at::Tensor gate_up;  // [T, 2f]
};

/// Takes and returns rows of the residual stream, [T, h] or this rank's of them. Saves all but
/// gate_up where `drop` says so, and nothing without the attention.
at::Tensor forward_feed_forward(const BlockWeights& weights, const BlockContext& context,
                                const planner::Recompute& drop, at::Tensor x,
                                FeedForwardSaved& saved);

/// grad is the gradient of y's rows; returned in the same memory as the gradient of x's. Overwrites
/// the feed-forward half's gradients. gate_up is computed again where it is not defined, and so is
/// rstd; x is needed.
at::Tensor backward_feed_forward(const BlockWeights& weights, const BlockWeights& gradients,
                                 const BlockContext& context, FeedForwardSaved saved,
                                 at::Tensor grad);

}  // namespace meshplan::executor
