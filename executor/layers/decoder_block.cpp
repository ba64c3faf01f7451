#include "executor/layers/decoder_block.h"

namespace meshplan::executor {

at::Tensor forward_block(const BlockWeights& weights, const BlockContext& context,
                         const planner::Recompute& drop, at::Tensor x, BlockSaved& saved) {
  at::Tensor x2 = forward_attention(weights, context, drop, std::move(x), saved.attention);
  return forward_feed_forward(weights, context, drop, std::move(x2), saved.feed_forward);
}

at::Tensor backward_block(const BlockWeights& weights, const BlockWeights& gradients,
                          const BlockContext& context, BlockSaved saved, at::Tensor grad) {
  if (!saved.attention.attention.out.defined()) {
    saved.feed_forward.x = forward_attention(weights, context, /*drop=*/{},
                                             std::move(saved.attention.x), saved.attention);
  }
  grad = backward_feed_forward(weights, gradients, context, std::move(saved.feed_forward),
                               std::move(grad));
  return backward_attention(weights, gradients, context, std::move(saved.attention),
                            std::move(grad));
}

}  // namespace meshplan::executor
