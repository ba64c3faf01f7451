#include "executor/layers/causal_attention.h"

#include <ATen/ATen.h>

#include "executor/kernels/cuda_attention.h"

namespace meshplan::executor {
namespace {

/// Of 16 bits.
bool is_short(const at::Tensor& heads) { return heads.element_size() == 2; }

at::Tensor wide(const at::Tensor& heads) { return heads.to(at::kFloat); }

/// [b, heads, s, D] of this type, in memory [b, s, heads, D].
at::Tensor empty_heads(const at::Tensor& like) {
  return at::empty({like.size(0), like.size(2), like.size(1), like.size(3)}, like.options())
      .transpose(1, 2);
}

AttentionOutput attend_on_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  auto [out, log_sum_exp] = at::_scaled_dot_product_flash_attention_for_cpu(
      q, k, v, /*dropout_p=*/0.0, /*is_causal=*/true);
  return {std::move(out), std::move(log_sum_exp), {}, {}};
}

AttentionGradients attend_backward_on_cpu(const at::Tensor& grad_out, const at::Tensor& q,
                                          const at::Tensor& k, const at::Tensor& v,
                                          const at::Tensor& out, const at::Tensor& log_sum_exp) {
  auto [grad_q, grad_k, grad_v] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      grad_out, q, k, v, out, log_sum_exp, /*dropout_p=*/0.0, /*is_causal=*/true);
  return {std::move(grad_q), std::move(grad_k), std::move(grad_v)};
}

}  // namespace

AttentionOutput causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  if (!q.is_cpu()) {
    auto [out, log_sum_exp, seed, offset] =
        cuda_attention::forward(cuda_attention::choose(q, k), q, k, v);
    return {std::move(out), std::move(log_sum_exp), std::move(seed), std::move(offset)};
  }
  if (!is_short(q)) return attend_on_cpu(q, k, v);
  // torch's kernels for short types take scratch that depends on the processor's model.
  at::Tensor out = empty_heads(q);
  AttentionOutput computed = attend_on_cpu(wide(q), wide(k), wide(v));
  out.copy_(computed.out);
  computed.out = std::move(out);
  return computed;
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
  if (!is_short(q))
    return attend_backward_on_cpu(grad_out, q, k, v, output.out, output.log_sum_exp);
  AttentionGradients gradients{empty_heads(q), empty_heads(k), empty_heads(v)};
  const AttentionGradients computed = attend_backward_on_cpu(
      wide(grad_out), wide(q), wide(k), wide(v), wide(output.out), output.log_sum_exp);
  gradients.q.copy_(computed.q);
  gradients.k.copy_(computed.k);
  gradients.v.copy_(computed.v);
  return gradients;
}

}  // namespace meshplan::executor
