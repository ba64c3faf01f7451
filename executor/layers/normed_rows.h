#pragma once

#include <ATen/core/Tensor.h>

namespace meshplan::executor {

/// The RMS norm of rows x [T, h] by weight [h], in a new tensor. `rstd` [T] is used where it is
/// defined, and computed and kept there where it is not.
at::Tensor normed_rows(const at::Tensor& x, const at::Tensor& weight, double eps, at::Tensor& rstd);

}  // namespace meshplan::executor
