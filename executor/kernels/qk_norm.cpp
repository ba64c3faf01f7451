#include "executor/kernels/qk_norm.h"

#include <cmath>

#include "executor/kernels/composed.h"
#include "executor/kernels/fused.h"
#include "executor/kernels/vector_loops.h"

namespace meshplan::executor {
namespace {

constexpr std::int64_t kMaxHeadDim = 512;

template <class T>
[[gnu::always_inline]] inline Arithmetic<T> reciprocal_norm(const T* x, Arithmetic<T> eps,
                                                            std::int64_t width) {
  Arithmetic<T> sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < width; ++i) sum += widen(x[i]) * widen(x[i]);
  return 1 / std::sqrt(sum / static_cast<Arithmetic<T>>(width) + eps);
}

template <class T>
MESHPLAN_VECTOR_CLONES void forward_row(const Arithmetic<T>* cos, const Arithmetic<T>* sin,
                                        const T* source, const T* weight, Arithmetic<T> eps,
                                        T* destination, std::int64_t heads, std::int64_t half) {
  using Real = Arithmetic<T>;
  for (std::int64_t head = 0; head < heads; ++head, source += 2 * half, destination += 2 * half) {
    const Real scale = reciprocal_norm(source, eps, 2 * half);
#pragma omp simd
    for (std::int64_t i = 0; i < half; ++i) {
      const Real first = widen(source[i]) * scale * widen(weight[i]);
      const Real second = widen(source[half + i]) * scale * widen(weight[half + i]);
      store_rounded(destination[i], first * cos[i] - second * sin[i]);
      store_rounded(destination[half + i], second * cos[i] + first * sin[i]);
    }
  }
}

/// One row's heads; adds to weight_sum [D].
template <class T>
MESHPLAN_VECTOR_CLONES void backward_row(const Arithmetic<T>* cos, const Arithmetic<T>* sin,
                                         T* source, const T* weight, Arithmetic<T> eps,
                                         const T* grad, Arithmetic<T>* weight_sum,
                                         std::int64_t heads, std::int64_t half) {
  using Real = Arithmetic<T>;
  std::array<Real, kMaxHeadDim> unrotated;
  Real* g = unrotated.data();
  const std::int64_t width = 2 * half;
  for (std::int64_t head = 0; head < heads; ++head, source += width, grad += width) {
    const Real scale = reciprocal_norm(source, eps, width);
#pragma omp simd
    for (std::int64_t i = 0; i < half; ++i) {
      const Real first = widen(grad[i]);
      const Real second = widen(grad[half + i]);
      g[i] = first * cos[i] + second * sin[i];
      g[half + i] = second * cos[i] - first * sin[i];
    }
    Real dot = 0;
#pragma omp simd reduction(+ : dot)
    for (std::int64_t i = 0; i < width; ++i) {
      const Real normed_grad = g[i] * widen(source[i]);
      weight_sum[i] += normed_grad * scale;
      dot += normed_grad * widen(weight[i]);
    }
    const Real along_source = dot * scale * scale * scale / static_cast<Real>(width);
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) {
      store_rounded(source[i], g[i] * widen(weight[i]) * scale - widen(source[i]) * along_source);
    }
  }
}

template <class T>
void backward(const RopeTable& table, const at::Tensor& source, const at::Tensor& weight,
              double eps, const at::Tensor& grad, const at::Tensor& grad_weight) {
  using Real = Arithmetic<T>;
  const std::int64_t half = table.cos.size(1);
  const std::int64_t rows = source.size(0);
  const std::int64_t heads = source.size(1) / (2 * half);
  // Each part sums its rows' share of the weight's gradient; their number is fixed, so that the
  // total does not depend on the number of threads.
  constexpr std::int64_t kParts = 8;
  std::array<Real, kParts * kMaxHeadDim> partial{};
  const std::int64_t rows_each = (rows + kParts - 1) / kParts;
  parallel_ranges(kParts, rows_each * source.size(1), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin * rows_each; t < std::min(rows, end * rows_each); ++t) {
      const std::int64_t angles = (t % table.sequence()) * half;
      backward_row(table.cos.const_data_ptr<Real>() + angles,
                   table.sin.const_data_ptr<Real>() + angles,
                   source.mutable_data_ptr<T>() + t * source.stride(0), weight.const_data_ptr<T>(),
                   static_cast<Real>(eps), grad.const_data_ptr<T>() + t * grad.stride(0),
                   partial.data() + t / rows_each * 2 * half, heads, half);
    }
  });
  for (std::int64_t i = 0; i < 2 * half; ++i) {
    Real sum = 0;
    for (std::int64_t part = 0; part < kParts; ++part)
      sum += partial[static_cast<std::size_t>(part * 2 * half + i)];
    store_rounded(grad_weight.mutable_data_ptr<T>()[i], sum);
  }
}

}  // namespace

void norm_and_rotate(const RopeTable& table, const at::Tensor& source, const at::Tensor& weight,
                     double eps, const at::Tensor& destination) {
  if (!source.is_cpu()) {
    if (fused::takes(source.scalar_type()))
      return fused::norm_and_rotate(table, source, weight, eps, destination);
    return composed::norm_and_rotate(table, source, weight, eps, destination);
  }
  const std::int64_t half = table.cos.size(1);
  visit_elements(source.scalar_type(), [&]<class T>() {
    using Real = Arithmetic<T>;
    parallel_ranges(source.size(0), source.size(1), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const std::int64_t angles = (t % table.sequence()) * half;
        forward_row(
            table.cos.const_data_ptr<Real>() + angles, table.sin.const_data_ptr<Real>() + angles,
            source.const_data_ptr<T>() + t * source.stride(0), weight.const_data_ptr<T>(),
            static_cast<Real>(eps), destination.mutable_data_ptr<T>() + t * destination.stride(0),
            source.size(1) / (2 * half), half);
      }
    });
  });
}

void norm_and_rotate_backward(const RopeTable& table, const at::Tensor& source,
                              const at::Tensor& weight, double eps, const at::Tensor& grad,
                              const at::Tensor& grad_weight) {
  if (!source.is_cpu()) {
    if (fused::takes(source.scalar_type()))
      return fused::norm_and_rotate_backward(table, source, weight, eps, grad, grad_weight);
    return composed::norm_and_rotate_backward(table, source, weight, eps, grad, grad_weight);
  }
  TORCH_CHECK(table.head_dim() <= kMaxHeadDim, "head_dim=", table.head_dim(),
              ": q/k norms are computed up to ", kMaxHeadDim);
  visit_elements(source.scalar_type(),
                 [&]<class T>() { backward<T>(table, source, weight, eps, grad, grad_weight); });
}

}  // namespace meshplan::executor
