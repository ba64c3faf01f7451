#include "executor/kernels/squares.h"

#include <ATen/ATen.h>

#include "executor/kernels/vector_loops.h"

namespace meshplan::executor {
namespace {

double sum_on_host(const at::Tensor& values) {
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

}  // namespace

at::Tensor sum_of_squares(at::TensorList values) {
  if (!values.front().is_cpu())
    return at::stack(at::_foreach_norm(values, 2, at::kDouble)).square_().sum();
  double sum = 0;
  for (const at::Tensor& tensor : values) sum += sum_on_host(tensor);
  return at::scalar_tensor(sum, at::kDouble);
}

}  // namespace meshplan::executor
