#include "executor/kernels/rms_norm.h"

#include <cmath>

#include "executor/kernels/composed.h"
#include "executor/kernels/fused.h"
#include "executor/kernels/vector_loops.h"

namespace meshplan::executor {
namespace {

template <class T>
MESHPLAN_VECTOR_CLONES void apply_rows(const T* x, const T* weight, const Arithmetic<T>* rstd,
                                       T* out, std::int64_t rows, std::int64_t width) {
  for (std::int64_t t = 0; t < rows; ++t, x += width, out += width) {
    const Arithmetic<T> scale = rstd[t];
#pragma omp simd
    for (std::int64_t j = 0; j < width; ++j)
      store_rounded(out[j], widen(x[j]) * scale * widen(weight[j]));
  }
}

template <class T>
MESHPLAN_VECTOR_CLONES void reciprocal_norms(const T* x, Arithmetic<T> eps, Arithmetic<T>* rstd,
                                             std::int64_t rows, std::int64_t width) {
  for (std::int64_t t = 0; t < rows; ++t, x += width) {
    Arithmetic<T> sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < width; ++j) sum += widen(x[j]) * widen(x[j]);
    rstd[t] = 1 / std::sqrt(sum / static_cast<Arithmetic<T>>(width) + eps);
  }
}

/// grad_x = residual + rstd * (g - x * rstd^2 * mean(g * x)), g = weight * grad_out.
template <class T, bool kResidual>
MESHPLAN_VECTOR_CLONES void backward_rows(const T* x, const T* weight, const Arithmetic<T>* rstd,
                                          const T* grad_out, T* grad_x, std::int64_t rows,
                                          std::int64_t width) {
  using Real = Arithmetic<T>;
  for (std::int64_t t = 0; t < rows; ++t, x += width, grad_out += width, grad_x += width) {
    Real dot = 0;
#pragma omp simd reduction(+ : dot)
    for (std::int64_t j = 0; j < width; ++j) {
      dot += widen(grad_out[j]) * widen(weight[j]) * widen(x[j]);
    }
    const Real scale = rstd[t];
    const Real along_x = dot * scale * scale * scale / static_cast<Real>(width);
#pragma omp simd
    for (std::int64_t j = 0; j < width; ++j) {
      const Real across = widen(grad_out[j]) * widen(weight[j]) * scale - widen(x[j]) * along_x;
      store_rounded(grad_x[j], kResidual ? widen(grad_x[j]) + across : across);
    }
  }
}

/// Columns [begin, end) of the weight's gradient, the sum over rows of grad_out * x * rstd. Threads
/// split columns, and rows are added in blocks, so that the result neither depends on the number of
/// threads nor loses small terms.
template <class T>
MESHPLAN_VECTOR_CLONES void weight_gradient_columns(const T* x, const Arithmetic<T>* rstd,
                                                    const T* grad_out, T* grad_weight,
                                                    std::int64_t rows, std::int64_t width,
                                                    std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t kTile = 1024;
  constexpr std::int64_t kRowBlock = 128;
  using Real = Arithmetic<T>;
  for (std::int64_t column = begin; column < end; column += kTile) {
    const std::int64_t columns = std::min(kTile, end - column);
    std::array<Real, kTile> total{};
    for (std::int64_t block = 0; block < rows; block += kRowBlock) {
      std::array<Real, kTile> sums{};
      Real* sum = sums.data();
      for (std::int64_t t = block; t < std::min(rows, block + kRowBlock); ++t) {
        const T* g = grad_out + t * width + column;
        const T* row = x + t * width + column;
        const Real scale = rstd[t];
#pragma omp simd
        for (std::int64_t j = 0; j < columns; ++j) sum[j] += widen(g[j]) * widen(row[j]) * scale;
      }
      for (std::size_t j = 0; j < sums.size(); ++j) total[j] += sums[j];
    }
    for (std::int64_t j = 0; j < columns; ++j)
      store_rounded(grad_weight[column + j], total[static_cast<std::size_t>(j)]);
  }
}

template <class T, bool kResidual>
void backward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
              const at::Tensor& grad_out, const at::Tensor& grad_x, const at::Tensor& grad_weight) {
  using Real = Arithmetic<T>;
  const std::int64_t rows = x.size(0);
  const std::int64_t width = x.size(1);
  const T* x_data = x.const_data_ptr<T>();
  const Real* rstd_data = rstd.const_data_ptr<Real>();
  // Before grad_x is written, as it may be grad_out.
  parallel_ranges(width, rows, [&](std::int64_t begin, std::int64_t end) {
    weight_gradient_columns(x_data, rstd_data, grad_out.const_data_ptr<T>(),
                            grad_weight.mutable_data_ptr<T>(), rows, width, begin, end);
  });
  parallel_ranges(rows, width, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t offset = begin * width;
    backward_rows<T, kResidual>(x_data + offset, weight.const_data_ptr<T>(), rstd_data + begin,
                                grad_out.const_data_ptr<T>() + offset,
                                grad_x.mutable_data_ptr<T>() + offset, end - begin, width);
  });
}

}  // namespace

void rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, const at::Tensor& out,
              const at::Tensor& rstd) {
  if (!x.is_cpu()) {
    if (fused::takes(x.scalar_type())) return fused::rms_norm(x, weight, eps, out, rstd);
    return composed::rms_norm(x, weight, eps, out, rstd);
  }
  const std::int64_t width = x.size(1);
  visit_elements(x.scalar_type(), [&]<class T>() {
    using Real = Arithmetic<T>;
    parallel_ranges(x.size(0), width, [&](std::int64_t begin, std::int64_t end) {
      // A few rows at a time, so that the second pass finds them in the cache.
      constexpr std::int64_t kRowBlock = 8;
      for (std::int64_t t = begin; t < end; t += kRowBlock) {
        const std::int64_t rows = std::min(kRowBlock, end - t);
        const T* block = x.const_data_ptr<T>() + t * width;
        Real* block_rstd = rstd.mutable_data_ptr<Real>() + t;
        reciprocal_norms(block, static_cast<Real>(eps), block_rstd, rows, width);
        apply_rows(block, weight.const_data_ptr<T>(), block_rstd,
                   out.mutable_data_ptr<T>() + t * width, rows, width);
      }
    });
  });
}

void apply_rms_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                    const at::Tensor& out) {
  if (!x.is_cpu()) {
    if (fused::takes(x.scalar_type())) return fused::apply_rms_norm(x, weight, rstd, out);
    return composed::apply_rms_norm(x, weight, rstd, out);
  }
  const std::int64_t width = x.size(1);
  visit_elements(x.scalar_type(), [&]<class T>() {
    parallel_ranges(x.size(0), width, [&](std::int64_t begin, std::int64_t end) {
      apply_rows(x.const_data_ptr<T>() + begin * width, weight.const_data_ptr<T>(),
                 rstd.const_data_ptr<Arithmetic<T>>() + begin,
                 out.mutable_data_ptr<T>() + begin * width, end - begin, width);
    });
  });
}

void rms_norm_backward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                       const at::Tensor& grad_out, const at::Tensor& grad_x,
                       const at::Tensor& grad_weight) {
  if (!x.is_cpu()) {
    if (fused::takes(x.scalar_type()))
      return fused::rms_norm_backward(x, weight, rstd, grad_out, grad_x, grad_weight);
    return composed::rms_norm_backward(x, weight, rstd, grad_out, grad_x, grad_weight);
  }
  visit_elements(x.scalar_type(), [&]<class T>() {
    backward<T, true>(x, weight, rstd, grad_out, grad_x, grad_weight);
  });
}

void rms_norm_backward_in_place(const at::Tensor& x, const at::Tensor& weight,
                                const at::Tensor& rstd, const at::Tensor& grad,
                                const at::Tensor& grad_weight) {
  if (!x.is_cpu()) {
    if (fused::takes(x.scalar_type()))
      return fused::rms_norm_backward_in_place(x, weight, rstd, grad, grad_weight);
    return composed::rms_norm_backward_in_place(x, weight, rstd, grad, grad_weight);
  }
  visit_elements(x.scalar_type(),
                 [&]<class T>() { backward<T, false>(x, weight, rstd, grad, grad, grad_weight); });
}

}  // namespace meshplan::executor
