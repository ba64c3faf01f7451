#pragma once

#include <ATen/core/Tensor.h>

/// A matrix multiply by a weight [n_out, n_in], as checkpoints store it. Saved: its input x [T,
/// n_in]. Every result is written into a tensor that is given.
namespace meshplan::executor {

/// out [T, n_out] = x @ weight^T + bias; bias [n_out] may be undefined.
void linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
            const at::Tensor& out);

/// grad_x [T, n_in] = grad_out @ weight.
void linear_backward_input(const at::Tensor& grad_out, const at::Tensor& weight,
                           const at::Tensor& grad_x);

/// grad_weight [n_out, n_in] = grad_out^T @ x.
void linear_backward_weight(const at::Tensor& grad_out, const at::Tensor& x,
                            const at::Tensor& grad_weight);

/// grad_weight += grad_out^T @ x.
void add_linear_backward_weight(const at::Tensor& grad_out, const at::Tensor& x,
                                const at::Tensor& grad_weight);

/// grad_bias [n_out] = the sum of grad_out over tokens; nothing where grad_bias is undefined.
void linear_backward_bias(const at::Tensor& grad_out, const at::Tensor& grad_bias);

}  // namespace meshplan::executor
