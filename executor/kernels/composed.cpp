#include "executor/kernels/composed.h"

#include <ATen/ATen.h>

#include "executor/kernels/vector_loops.h"

namespace meshplan::executor::composed {
namespace {

at::Tensor to_statistics(const at::Tensor& tensor) {
  return tensor.to(statistics_type(tensor.scalar_type()));
}

/// x * rstd over the last dimension.
at::Tensor normed(const at::Tensor& x, const at::Tensor& rstd) {
  return to_statistics(x) * rstd.unsqueeze(-1);
}

at::Tensor reciprocal_norm(const at::Tensor& x, double eps) {
  return to_statistics(x).square().mean(-1).add_(eps).rsqrt_();
}

/// J^T grad_out of weight * x * rstd over the last dimension, in statistics type.
at::Tensor norm_gradient(const at::Tensor& x_normed, const at::Tensor& weight,
                         const at::Tensor& rstd, const at::Tensor& grad_out) {
  const at::Tensor g = to_statistics(grad_out) * to_statistics(weight);
  return (g - x_normed * (g * x_normed).mean(-1, /*keepdim=*/true)) * rstd.unsqueeze(-1);
}

/// [T, heads * D] as [b, s, heads, D].
at::Tensor as_heads(const RopeTable& table, const at::Tensor& rows) {
  return rows.view({rows.size(0) / table.sequence(), table.sequence(),
                    rows.size(1) / table.head_dim(), table.head_dim()});
}

at::Tensor rotated(const RopeTable& table, Rotation rotation, const at::Tensor& heads) {
  const at::Tensor x = to_statistics(heads);
  const std::int64_t half = table.head_dim() / 2;
  const at::Tensor first = x.narrow(-1, 0, half);
  const at::Tensor second = x.narrow(-1, half, half);
  const at::Tensor cos = table.cos.unsqueeze(1);
  const at::Tensor sin =
      rotation == Rotation::kForward ? table.sin.unsqueeze(1) : table.sin.unsqueeze(1).neg();
  return at::cat({first * cos - second * sin, second * cos + first * sin}, -1);
}

}  // namespace

void rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, const at::Tensor& out,
              const at::Tensor& rstd) {
  rstd.copy_(reciprocal_norm(x, eps));
  apply_rms_norm(x, weight, rstd, out);
}

void apply_rms_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                    const at::Tensor& out) {
  out.copy_(normed(x, rstd) * to_statistics(weight));
}

void rms_norm_backward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                       const at::Tensor& grad_out, const at::Tensor& grad_x,
                       const at::Tensor& grad_weight) {
  const at::Tensor x_normed = normed(x, rstd);
  grad_weight.copy_((to_statistics(grad_out) * x_normed).sum(0));
  grad_x.copy_(to_statistics(grad_x) + norm_gradient(x_normed, weight, rstd, grad_out));
}

void rms_norm_backward_in_place(const at::Tensor& x, const at::Tensor& weight,
                                const at::Tensor& rstd, const at::Tensor& grad,
                                const at::Tensor& grad_weight) {
  const at::Tensor x_normed = normed(x, rstd);
  grad_weight.copy_((to_statistics(grad) * x_normed).sum(0));
  grad.copy_(norm_gradient(x_normed, weight, rstd, grad));
}

void rotate(const RopeTable& table, Rotation rotation, const at::Tensor& source,
            const at::Tensor& destination) {
  as_heads(table, destination).copy_(rotated(table, rotation, as_heads(table, source)));
}

void norm_and_rotate(const RopeTable& table, const at::Tensor& source, const at::Tensor& weight,
                     double eps, const at::Tensor& destination) {
  const at::Tensor heads = as_heads(table, source);
  const at::Tensor out = normed(heads, reciprocal_norm(heads, eps)) * to_statistics(weight);
  as_heads(table, destination).copy_(rotated(table, Rotation::kForward, out));
}

void norm_and_rotate_backward(const RopeTable& table, const at::Tensor& source,
                              const at::Tensor& weight, double eps, const at::Tensor& grad,
                              const at::Tensor& grad_weight) {
  const at::Tensor heads = as_heads(table, source);
  const at::Tensor rstd = reciprocal_norm(heads, eps);
  const at::Tensor x_normed = normed(heads, rstd);
  const at::Tensor grad_normed = rotated(table, Rotation::kInverse, as_heads(table, grad));
  grad_weight.copy_((grad_normed * x_normed).sum({0, 1, 2}));
  heads.copy_(norm_gradient(x_normed, weight, rstd, grad_normed));
}

void swiglu(const at::Tensor& gate_up, const at::Tensor& act) {
  const std::int64_t width = act.size(1);
  const at::Tensor gate = to_statistics(gate_up.narrow(1, 0, width));
  act.copy_(at::silu(gate) * gate_up.narrow(1, width, width));
}

void swiglu_backward(const at::Tensor& gate_up, const at::Tensor& grad_act) {
  const std::int64_t width = grad_act.size(1);
  const at::Tensor gate = to_statistics(gate_up.narrow(1, 0, width));
  const at::Tensor up = to_statistics(gate_up.narrow(1, width, width));
  const at::Tensor grad = to_statistics(grad_act);
  const at::Tensor sigmoid = at::sigmoid(gate);
  const at::Tensor silu = gate * sigmoid;
  const at::Tensor grad_gate = grad * up * (sigmoid + silu * (1 - sigmoid));
  gate_up.narrow(1, width, width).copy_(grad * silu);
  gate_up.narrow(1, 0, width).copy_(grad_gate);
}

void gather_rows(const at::Tensor& weight, const VocabularySlice& slice, const at::Tensor& ids,
                 const at::Tensor& out) {
  const at::Tensor local = ids - slice.start;
  const at::Tensor foreign = local.lt(0).logical_or_(local.ge(slice.rows));
  out.copy_(weight.index_select(0, local.masked_fill(foreign, 0)));
  out.masked_fill_(foreign.unsqueeze(1), 0);
}

void add_rows(const at::Tensor& grad_out, const VocabularySlice& slice, const at::Tensor& ids,
              const at::Tensor& grad_weight) {
  const at::Tensor local = ids - slice.start;
  const at::Tensor foreign = local.lt(0).logical_or_(local.ge(slice.rows));
  // CUDA sorts the indices and sums each in one order, in float32; index_add_ would use atomics.
  grad_weight.index_put_({local.masked_fill(foreign, 0)},
                         grad_out.masked_fill(foreign.unsqueeze(1), 0),
                         /*accumulate=*/true);
}

void accumulate(const at::Tensor& total, const at::Tensor& term) { total.add_(term); }

}  // namespace meshplan::executor::composed
