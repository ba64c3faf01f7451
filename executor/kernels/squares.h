#pragma once

#include <ATen/core/Tensor.h>

namespace meshplan::executor {

/// The sum of the squares of contiguous tensors of one type, added up in float64: over a million
/// elements a float32 sum is off by 1e-4. A float64 scalar on the tensors' device, for which the
/// host does not wait; there is at least one tensor.
at::Tensor sum_of_squares(at::TensorList values);

}  // namespace meshplan::executor
