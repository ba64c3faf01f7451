#include "executor/kernels/squares.h"

#include <ATen/ATen.h>

namespace meshplan::executor {

double sum_of_squares(const at::Tensor& values) {
  if (!values.device().is_cpu()) {
    const double norm = at::linalg_vector_norm(values, 2, {}, false, at::kDouble).item<double>();
    return norm * norm;
  }
  const auto* data = values.const_data_ptr<float>();
  const std::int64_t count = values.numel();
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < count; ++i)
    sum += static_cast<double>(data[i]) * static_cast<double>(data[i]);
  return sum;
}

}  // namespace meshplan::executor
