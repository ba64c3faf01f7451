#pragma once

#include <ATen/core/Tensor.h>

#include "executor/layers/attention_layer.h"
#include "executor/layers/block_weights.h"
#include "executor/layers/feed_forward.h"

/// One decoder block of the llama, mistral, qwen2 and qwen3 families, tensor parallel, without
/// autograd. Allocations and collectives, in their order, are the specification that the memory
/// model expands.
namespace meshplan::executor {

/// e T (2h + 2 H D + 2 K D + 2 f) + 4 T (2 + H) bytes at e bytes an element, x included.
struct BlockSaved {
  AttentionSaved attention;
  FeedForwardSaved feed_forward;
};

/// x [T, h] to y [T, h]. Two all-reduces over tp.
at::Tensor forward_block(const BlockWeights& weights, const BlockContext& context, at::Tensor x,
                         BlockSaved& saved);

/// grad [T, h], the gradient of y, becomes that of x and is returned; every defined tensor of
/// gradients is overwritten. Saved tensors are freed as soon as they are used up. Two all-reduces
/// over tp, each beside a weight's gradient.
at::Tensor backward_block(const BlockWeights& weights, const BlockWeights& gradients,
                          const BlockContext& context, BlockSaved saved, at::Tensor grad);

}  // namespace meshplan::executor
