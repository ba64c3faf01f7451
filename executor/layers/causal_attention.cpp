#include "executor/layers/causal_attention.h"

#include <ATen/ATen.h>

#include <array>

#include "executor/kernels/composed.h"

namespace meshplan::executor {
namespace {

enum class Algorithm { kCpuFlash, kCudaFlash, kCudaEfficient, kComposed };

/// CUDA's flash kernels (FlashAttention-2) take 16-bit types, the memory-efficient ones float32
/// too; both want heads of 16 bytes' multiples.
Algorithm choose_algorithm(const at::Tensor& q) {
  if (q.is_cpu()) return Algorithm::kCpuFlash;
  const std::int64_t head_dim = q.size(-1);
  const bool half = q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf;
  if (q.is_cuda() && half && head_dim % 8 == 0 && head_dim <= 256) return Algorithm::kCudaFlash;
  if (q.is_cuda() && q.scalar_type() == at::kFloat && head_dim % 4 == 0)
    return Algorithm::kCudaEfficient;
  return Algorithm::kComposed;
}

at::Tensor for_query_heads(const at::Tensor& heads, const at::Tensor& q) {
  return heads.size(1) == q.size(1) ? heads : heads.repeat_interleave(q.size(1) / heads.size(1), 1);
}

at::Tensor sum_over_group(const at::Tensor& grad, std::int64_t kv_heads) {
  return grad.size(1) == kv_heads ? grad
                                  : grad.unflatten(1, {kv_heads, grad.size(1) / kv_heads}).sum(2);
}

AttentionGradients cuda_flash_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                       const at::Tensor& k, const at::Tensor& v,
                                       const AttentionOutput& output) {
  const auto [grad_q, grad_k, grad_v] = at::_scaled_dot_product_flash_attention_backward(
      grad_out, q, k, v, output.out, output.log_sum_exp, /*cum_seq_q=*/{}, /*cum_seq_k=*/{},
      q.size(2), k.size(2),
      /*dropout_p=*/0.0, /*is_causal=*/true, output.random_seed, output.random_offset);
  return {grad_q, grad_k, grad_v};
}

AttentionGradients cuda_efficient_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                           const at::Tensor& k, const at::Tensor& v,
                                           const AttentionOutput& output) {
  const auto [grad_q, grad_k, grad_v, grad_bias] =
      at::_scaled_dot_product_efficient_attention_backward(
          grad_out, q, for_query_heads(k, q), for_query_heads(v, q), /*attn_bias=*/{}, output.out,
          output.log_sum_exp, output.random_seed, output.random_offset, /*dropout_p=*/0.0,
          std::array<bool, 4>{true, true, true, false},
          /*is_causal=*/true);
  return {grad_q, sum_over_group(grad_k, k.size(1)), sum_over_group(grad_v, v.size(1))};
}

}  // namespace

AttentionOutput causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  switch (choose_algorithm(q)) {
    case Algorithm::kCpuFlash: {
      auto [out, log_sum_exp] = at::_scaled_dot_product_flash_attention_for_cpu(
          q, k, v, /*dropout_p=*/0.0, /*is_causal=*/true);
      return {std::move(out), std::move(log_sum_exp), {}, {}};
    }
    case Algorithm::kCudaFlash: {
      auto result =
          at::_scaled_dot_product_flash_attention(q, k, v, /*dropout_p=*/0.0, /*is_causal=*/true);
      return {std::get<0>(result), std::get<1>(result), std::get<6>(result), std::get<7>(result)};
    }
    case Algorithm::kCudaEfficient: {
      auto [out, log_sum_exp, seed, offset] = at::_scaled_dot_product_efficient_attention(
          q, for_query_heads(k, q), for_query_heads(v, q), /*attn_bias=*/{},
          /*compute_log_sumexp=*/true,
          /*dropout_p=*/0.0, /*is_causal=*/true);
      return {std::move(out), std::move(log_sum_exp), std::move(seed), std::move(offset)};
    }
    case Algorithm::kComposed:
      break;
  }
  auto [out, log_sum_exp] = composed::causal_attention(q, k, v);
  return {std::move(out), std::move(log_sum_exp), {}, {}};
}

AttentionGradients causal_attention_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                             const at::Tensor& k, const at::Tensor& v,
                                             const AttentionOutput& output) {
  switch (choose_algorithm(q)) {
    case Algorithm::kCpuFlash: {
      auto [grad_q, grad_k, grad_v] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          grad_out, q, k, v, output.out, output.log_sum_exp, /*dropout_p=*/0.0, /*is_causal=*/true);
      return {std::move(grad_q), std::move(grad_k), std::move(grad_v)};
    }
    case Algorithm::kCudaFlash:
      return cuda_flash_backward(grad_out, q, k, v, output);
    case Algorithm::kCudaEfficient:
      return cuda_efficient_backward(grad_out, q, k, v, output);
    case Algorithm::kComposed:
      break;
  }
  auto [grad_q, grad_k, grad_v] =
      composed::causal_attention_backward(grad_out, q, k, v, output.out, output.log_sum_exp);
  return {std::move(grad_q), std::move(grad_k), std::move(grad_v)};
}

}  // namespace meshplan::executor
