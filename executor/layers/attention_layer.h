#pragma once

#include <ATen/core/Tensor.h>

#include "executor/layers/block_weights.h"
#include "executor/layers/causal_attention.h"

/// The attention half of a decoder block: x + o_proj(attention(rotate(qkv(rms_norm(x))))).
namespace meshplan::executor {

/// The saved list of the attention half: e T (h + 2 H D + 2 K D) + 4 T (1 + H) bytes at e bytes an
/// element.
struct AttentionSaved {
  at::Tensor x;     // [T, h]
  at::Tensor rstd;  // [T]
  at::Tensor qkv;   // [T, (H + 2K) D]: q and k rotated, or as projected where they are normed
  AttentionOutput attention;
};

/// Returns x2 [T, h], the same on all ranks of tp, as x is.
at::Tensor forward_attention(const BlockWeights& weights, const BlockContext& context, at::Tensor x,
                             AttentionSaved& saved);

/// grad [T, h] is the gradient of x2; returned in the same memory as the gradient of x. Overwrites
/// the attention half's gradients.
at::Tensor backward_attention(const BlockWeights& weights, const BlockWeights& gradients,
                              const BlockContext& context, AttentionSaved saved, at::Tensor grad);

}  // namespace meshplan::executor
