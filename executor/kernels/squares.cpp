#include "executor/kernels/squares.h"

#include <ATen/ATen.h>

#include "executor/kernels/vector_loops.h"

namespace meshplan::executor {

double sum_of_squares(const at::Tensor& values) {
  if (!values.device().is_cpu()) {
    const double norm = at::linalg_vector_norm(values, 2, {}, false, at::kDouble).item<double>();
    return norm * norm;
  }
  const std::int64_t count = values.numel();
  double sum = 0;
  visit_elements(values.scalar_type(), [&]<class T>() {
    const T* data = values.const_data_ptr<T>();
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < count; ++i)
      sum += static_cast<double>(data[i]) * static_cast<double>(data[i]);
  });
  return sum;
}

}  // namespace meshplan::executor
