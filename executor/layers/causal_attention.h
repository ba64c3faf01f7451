#pragma once

#include <ATen/core/Tensor.h>

namespace meshplan::executor {

/// The result of causal_attention, which its backward pass needs.
struct AttentionOutput {
  at::Tensor out;          // [b, H, s, D], in memory [b, s, H, D]: its rows [T, H D] are a view
  at::Tensor log_sum_exp;  // [b, H, s] float32 (float64 for float64)
  at::Tensor
      random_seed;  // CUDA only, a few bytes: state that ATen's kernels hand to their backward pass
  at::Tensor random_offset;
};

struct AttentionGradients {
  at::Tensor q;
  at::Tensor k;
  at::Tensor v;
};

/// softmax(q k^T / sqrt(D)) v, each position seeing itself and those before it. q is [b, H, s, D],
/// k and v are [b, K, s, D] with K dividing H (grouped-query heads; query head i uses head i / (H /
/// K)); any strides with unit distance within a head. Keys and values are not copied, except on
/// CUDA in float32 with K < H.
AttentionOutput causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

/// The gradients of q, k and v, shaped as these.
AttentionGradients causal_attention_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                             const at::Tensor& k, const at::Tensor& v,
                                             const AttentionOutput& output);

}  // namespace meshplan::executor
