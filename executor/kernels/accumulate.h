#pragma once

#include <ATen/core/Tensor.h>

namespace meshplan::executor {

/// total += term, elementwise, for a total of float32 (float64) and a term of any compute type, of
/// equal shape. Unlike total.add_(term), which on CPU first makes a converted copy of the term,
/// allocates nothing.
void accumulate(const at::Tensor& total, const at::Tensor& term);

}  // namespace meshplan::executor
