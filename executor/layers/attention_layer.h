#pragma once

#include <ATen/core/Tensor.h>

#include "executor/layers/block_weights.h"
#include "executor/layers/causal_attention.h"
#include "planner/layout/layout.h"

/// The attention half of a decoder block: x + o_proj(attention(rotate(qkv(rms_norm(x))))).
namespace meshplan::executor {

/// The saved list of the attention half: e T (h + 2 H D + 2 K D) + 4 T (1 + H) bytes at e bytes an
/// element. Under sequence parallelism x and rstd have this rank's rows alone.
struct AttentionSaved {
  at::Tensor x;     // [T, h]
  at::Tensor rstd;  // [T]
  at::Tensor qkv;   // [T, (H + 2K) D]: q and k rotated, or as projected where they are normed
  AttentionOutput attention;
};

/// Takes and returns rows of the residual stream, [T, h] or this rank's of them. Saves what `drop`
/// leaves; nothing but x without the attention.
at::Tensor forward_attention(const BlockWeights& weights, const BlockContext& context,
                             const planner::Recompute& drop, at::Tensor x, AttentionSaved& saved);

/// grad is the gradient of x2's rows; returned in the same memory as the gradient of x's.
/// Overwrites the attention half's gradients. qkv is computed again where it is not defined.
at::Tensor backward_attention(const BlockWeights& weights, const BlockWeights& gradients,
                              const BlockContext& context, AttentionSaved saved, at::Tensor grad);

}  // namespace meshplan::executor
