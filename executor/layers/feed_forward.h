#pragma once

#include <ATen/core/Tensor.h>

#include "executor/layers/block_weights.h"

/// The feed-forward half of a decoder block: x + down(swiglu(gate_up(rms_norm(x)))).
namespace meshplan::executor {

/// The saved list of the feed-forward half: e T (h + 2 f) + 4 T bytes at e bytes an element.
struct FeedForwardSaved {
  at::Tensor x;        // [T, h]
  at::Tensor rstd;     // [T]
  at::Tensor gate_up;  // [T, 2f]
};

/// Returns y [T, h], the same on all ranks of tp, as x is.
at::Tensor forward_feed_forward(const BlockWeights& weights, const BlockContext& context,
                                at::Tensor x, FeedForwardSaved& saved);

/// grad [T, h] is the gradient of y; returned in the same memory as the gradient of x. Overwrites
/// the feed-forward half's gradients.
at::Tensor backward_feed_forward(const BlockWeights& weights, const BlockWeights& gradients,
                                 const BlockContext& context, FeedForwardSaved saved,
                                 at::Tensor grad);

}  // namespace meshplan::executor
