#pragma once

#include <ATen/core/Tensor.h>

#include "executor/layers/attention_layer.h"
#include "executor/layers/block_weights.h"
#include "executor/layers/feed_forward.h"

/// One decoder block of the llama, mistral, qwen2 and qwen3 families, tensor parallel, without
/// autograd. Allocations and collectives, in their order, are the specification that the memory
/// model expands.
namespace meshplan::executor {

/// e T (2h + 2 H D + 2 K D + 2 f) + 4 T (2 + H) bytes at e bytes an element, x included, where
/// nothing is dropped.
struct BlockSaved {
  AttentionSaved attention;
  FeedForwardSaved feed_forward;
};

/// x to y, rows of the residual stream: [T, h], or this rank's of them under sequence parallelism.
/// Two all-reduces over tp; or two all-gathers and two reduce-scatters.
at::Tensor forward_block(const BlockWeights& weights, const BlockContext& context,
                         const planner::Recompute& drop, at::Tensor x, BlockSaved& saved);

/// grad, the gradient of y, becomes that of x and is returned; every defined tensor of gradients is
/// overwritten. What was dropped is computed again; saved tensors are freed as soon as they are
/// used up. Two all-reduces over tp, each beside a weight's gradient; or four all-gathers and two
/// reduce-scatters, of which two each run beside other work.
at::Tensor backward_block(const BlockWeights& weights, const BlockWeights& gradients,
                          const BlockContext& context, BlockSaved saved, at::Tensor grad);

}  // namespace meshplan::executor
