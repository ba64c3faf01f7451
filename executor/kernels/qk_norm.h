#pragma once

#include <ATen/core/Tensor.h>

#include "executor/kernels/rope.h"

/// RMSNorm of every query or key head over head_dim, then the rotation (qwen3).
/// source and destination [T, heads * D] are column ranges of possibly wider matrices, as in
/// rotate(); weight is [D].
namespace meshplan::executor {

/// destination = rotate(weight * source * rstd).
void norm_and_rotate(const RopeTable& table, const at::Tensor& source, const at::Tensor& weight,
                     double eps, const at::Tensor& destination);

/// grad [T, heads * D] is the gradient of destination. source becomes its own gradient; grad_weight
/// [D] is overwritten with the sum over rows and heads. head_dim is at most 512.
void norm_and_rotate_backward(const RopeTable& table, const at::Tensor& source,
                              const at::Tensor& weight, double eps, const at::Tensor& grad,
                              const at::Tensor& grad_weight);

}  // namespace meshplan::executor
