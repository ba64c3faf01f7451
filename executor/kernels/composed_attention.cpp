#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "executor/kernels/composed.h"

namespace meshplan::executor::composed {
namespace {

/// Each key or value head once for every query head that shares it.
at::Tensor for_query_heads(const at::Tensor& heads, std::int64_t query_heads) {
  return heads.repeat_interleave(query_heads / heads.size(1), 1);
}

/// The inverse of for_query_heads for gradients: the sum over the query heads that share a head.
at::Tensor sum_over_group(const at::Tensor& grad, std::int64_t kv_heads) {
  return grad.unflatten(1, {kv_heads, grad.size(1) / kv_heads}).sum(2);
}

double score_scale(const at::Tensor& q) { return 1 / std::sqrt(static_cast<double>(q.size(-1))); }

at::Tensor scores_of(const at::Tensor& q, const at::Tensor& k) {
  const at::Tensor scores = at::matmul(q, k.transpose(-2, -1)).mul_(score_scale(q));
  const at::Tensor future = at::ones({q.size(2), q.size(2)}, q.options().dtype(at::kBool)).triu_(1);
  return scores.masked_fill_(future, -std::numeric_limits<double>::infinity());
}

}  // namespace

std::tuple<at::Tensor, at::Tensor> causal_attention(const at::Tensor& q, const at::Tensor& k,
                                                    const at::Tensor& v) {
  const at::Tensor scores = scores_of(q, for_query_heads(k, q.size(1)));
  const at::Tensor log_sum_exp = at::logsumexp(scores, -1);
  const at::Tensor out = at::matmul(at::softmax(scores, -1), for_query_heads(v, q.size(1)));
  return {out.transpose(1, 2).contiguous().transpose(1, 2), log_sum_exp};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> causal_attention_backward(
    const at::Tensor& grad_out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& log_sum_exp) {
  const at::Tensor keys = for_query_heads(k, q.size(1));
  const at::Tensor values = for_query_heads(v, q.size(1));
  const at::Tensor weights = scores_of(q, keys).sub_(log_sum_exp.unsqueeze(-1)).exp_();
  const at::Tensor grad_values = at::matmul(weights.transpose(-2, -1), grad_out);
  const at::Tensor grad_weights = at::matmul(grad_out, values.transpose(-2, -1));
  const at::Tensor mean = (grad_out * out).sum(-1, /*keepdim=*/true);
  const at::Tensor grad_scores = weights.mul_(grad_weights - mean).mul_(score_scale(q));
  return {at::matmul(grad_scores, keys),
          sum_over_group(at::matmul(grad_scores.transpose(-2, -1), q), k.size(1)),
          sum_over_group(grad_values, v.size(1))};
}

}  // namespace meshplan::executor::composed
