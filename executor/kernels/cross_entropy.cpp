#include "executor/kernels/cross_entropy.h"

#include <cmath>
#include <limits>

#include "executor/kernels/composed.h"
#include "executor/kernels/fused.h"
#include "executor/kernels/vector_loops.h"

namespace meshplan::executor {
namespace {

template <class Real>
MESHPLAN_VECTOR_CLONES Real row_max(const Real* row, std::int64_t columns) {
  Real max = -std::numeric_limits<Real>::infinity();
#pragma omp simd reduction(max : max)
  for (std::int64_t j = 0; j < columns; ++j) max = row[j] > max ? row[j] : max;
  return max;
}

/// In place; returns the sum, which is taken in blocks, as a vocabulary is long for float.
template <class Real>
MESHPLAN_VECTOR_CLONES Real row_exp(Real* row, std::int64_t columns, Real max) {
  constexpr std::int64_t kBlock = 1024;
  double total = 0;
  for (std::int64_t begin = 0; begin < columns; begin += kBlock) {
    const std::int64_t end = std::min(columns, begin + kBlock);
    Real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = begin; j < end; ++j) {
      const Real value = vector_exp(row[j] - max);
      row[j] = value;
      sum += value;
    }
    total += static_cast<double>(sum);
  }
  return static_cast<Real>(total);
}

template <class T>
MESHPLAN_VECTOR_CLONES void scale_row(const Arithmetic<T>* row, std::int64_t columns,
                                      Arithmetic<T> factor, T* gradient) {
#pragma omp simd
  for (std::int64_t j = 0; j < columns; ++j) store_rounded(gradient[j], row[j] * factor);
}

template <class T>
void gradient_row(const Arithmetic<T>* exps, const VocabularySlice& slice, Arithmetic<T> sum,
                  std::int64_t label, Arithmetic<T> scale, T* gradient, std::int64_t width) {
  if (label == kIgnoredLabel) {
    std::fill_n(gradient, width, T(0));
    return;
  }
  const std::int64_t column = label - slice.start;
  const Arithmetic<T> at_label = slice.holds(label) ? exps[column] * (scale / sum) - scale : 0;
  scale_row(exps, slice.rows, scale / sum, gradient);
  if (slice.holds(label)) store_rounded(gradient[column], at_label);
  std::fill(gradient + slice.rows, gradient + width, T(0));
}

}  // namespace

void cross_entropy_max(const at::Tensor& logits, const VocabularySlice& slice,
                       const at::Tensor& max) {
  if (!logits.is_cpu()) {
    if (fused::takes(logits.scalar_type())) return fused::cross_entropy_max(logits, slice, max);
    return composed::cross_entropy_max(logits, slice, max);
  }
  const std::int64_t width = logits.size(1);
  visit_elements(logits.scalar_type(), [&]<class T>() {
    using Real = Arithmetic<T>;
    parallel_ranges(logits.size(0), width, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t c = begin; c < end; ++c) {
        max.mutable_data_ptr<Real>()[c] =
            row_max(logits.const_data_ptr<Real>() + c * width, slice.rows);
      }
    });
  });
}

void cross_entropy_exp(const at::Tensor& logits, const VocabularySlice& slice,
                       const at::Tensor& max, const at::Tensor& labels, const at::Tensor& sums) {
  if (!logits.is_cpu()) {
    if (fused::takes(logits.scalar_type()))
      return fused::cross_entropy_exp(logits, slice, max, labels, sums);
    return composed::cross_entropy_exp(logits, slice, max, labels, sums);
  }
  const std::int64_t rows = logits.size(0);
  const std::int64_t width = logits.size(1);
  const std::int64_t* label_of = labels.const_data_ptr<std::int64_t>();
  visit_elements(logits.scalar_type(), [&]<class T>() {
    using Real = Arithmetic<T>;
    const Real* max_of = max.const_data_ptr<Real>();
    Real* sum_of = sums.mutable_data_ptr<Real>();
    parallel_ranges(rows, width, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t c = begin; c < end; ++c) {
        Real* row = logits.mutable_data_ptr<Real>() + c * width;
        const std::int64_t label = label_of[c];
        sum_of[rows + c] = slice.holds(label) ? row[label - slice.start] - max_of[c] : Real(0);
        sum_of[c] = row_exp(row, slice.rows, max_of[c]);
      }
    });
  });
}

void cross_entropy_gradient(const at::Tensor& exps, const VocabularySlice& slice,
                            const at::Tensor& sums, const at::Tensor& labels, double scale,
                            const at::Tensor& losses, const at::Tensor& gradient) {
  if (!exps.is_cpu()) {
    if (fused::takes((gradient.defined() ? gradient : exps).scalar_type()))
      return fused::cross_entropy_gradient(exps, slice, sums, labels, scale, losses, gradient);
    return composed::cross_entropy_gradient(exps, slice, sums, labels, scale, losses, gradient);
  }
  const std::int64_t rows = exps.size(0);
  const std::int64_t width = exps.size(1);
  const std::int64_t* label_of = labels.const_data_ptr<std::int64_t>();
  visit_elements(gradient.defined() ? gradient.scalar_type() : exps.scalar_type(), [&]<class T>() {
    using Real = Arithmetic<T>;
    const Real* sum_of = sums.const_data_ptr<Real>();
    parallel_ranges(rows, gradient.defined() ? width : 1,
                    [&](std::int64_t begin, std::int64_t end) {
                      for (std::int64_t c = begin; c < end; ++c) {
                        const bool ignored = label_of[c] == kIgnoredLabel;
                        losses.mutable_data_ptr<Real>()[c] =
                            ignored ? Real(0) : std::log(sum_of[c]) - sum_of[rows + c];
                        if (!gradient.defined()) continue;
                        gradient_row(exps.const_data_ptr<Real>() + c * width, slice, sum_of[c],
                                     label_of[c], static_cast<Real>(scale),
                                     gradient.mutable_data_ptr<T>() + c * width, width);
                      }
                    });
  });
}

}  // namespace meshplan::executor
