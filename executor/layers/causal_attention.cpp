#include "executor/layers/causal_attention.h"

#include <ATen/ATen.h>

#include "executor/kernels/cuda_attention.h"

namespace meshplan::executor {

AttentionOutput causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  if (!q.is_cpu()) {
    auto [out, log_sum_exp, seed, offset] =
        cuda_attention::forward(cuda_attention::choose(q, k), q, k, v);
    return {std::move(out), std::move(log_sum_exp), std::move(seed), std::move(offset)};
  }
  auto [out, log_sum_exp] = at::_scaled_dot_product_flash_attention_for_cpu(
      q, k, v, /*dropout_p=*/0.0, /*is_causal=*/true);
  return {std::move(out), std::move(log_sum_exp), {}, {}};
}

AttentionGradients causal_attention_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                             const at::Tensor& k, const at::Tensor& v,
                                             const AttentionOutput& output) {
  if (!q.is_cpu()) {
    auto [grad_q, grad_k, grad_v] = cuda_attention::backward(
        cuda_attention::choose(q, k), grad_out, q, k, v,
        {output.out, output.log_sum_exp, output.random_seed, output.random_offset});
    return {std::move(grad_q), std::move(grad_k), std::move(grad_v)};
  }
  auto [grad_q, grad_k, grad_v] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      grad_out, q, k, v, output.out, output.log_sum_exp, /*dropout_p=*/0.0, /*is_causal=*/true);
  return {std::move(grad_q), std::move(grad_k), std::move(grad_v)};
}

}  // namespace meshplan::executor
