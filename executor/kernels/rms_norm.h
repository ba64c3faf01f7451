#pragma once

#include <ATen/core/Tensor.h>

/// Root-mean-square normalisation (Zhang, Sennrich 2019, arXiv 1910.07467) of the rows of x [T, h]:
/// out = weight * x * rstd, rstd [T] = 1 / sqrt(mean(x^2) + eps). weight is [h]; rstd has
/// statistics_type(x).
namespace meshplan::executor {

/// Writes out and rstd.
void rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, const at::Tensor& out,
              const at::Tensor& rstd);

/// Writes out from the rstd of an earlier rms_norm.
void apply_rms_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                    const at::Tensor& out);

/// grad_x, which holds the residual branch's gradient, += J^T grad_out; grad_weight is overwritten.
void rms_norm_backward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                       const at::Tensor& grad_out, const at::Tensor& grad_x,
                       const at::Tensor& grad_weight);

/// Without a residual branch: grad holds grad_out and becomes J^T grad_out; grad_weight is
/// overwritten.
void rms_norm_backward_in_place(const at::Tensor& x, const at::Tensor& weight,
                                const at::Tensor& rstd, const at::Tensor& grad,
                                const at::Tensor& grad_weight);

}  // namespace meshplan::executor
