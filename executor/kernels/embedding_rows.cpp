#include "executor/kernels/embedding_rows.h"

#include <cstring>
#include <numeric>
#include <vector>

#include "executor/kernels/composed.h"
#include "executor/kernels/fused.h"
#include "executor/kernels/vector_loops.h"

namespace meshplan::executor {
namespace {

template <class T>
MESHPLAN_VECTOR_CLONES void add_range(const T* source, Arithmetic<T>* sum, std::int64_t count) {
#pragma omp simd
  for (std::int64_t j = 0; j < count; ++j) sum[j] += widen(source[j]);
}

/// Where sums of elements can be kept in the gradient itself: rows in token order.
template <class T>
void add_in_token_order(const at::Tensor& grad_out, const VocabularySlice& slice,
                        const std::int64_t* ids, const at::Tensor& grad_weight) {
  const std::int64_t rows = grad_out.size(0);
  const std::int64_t width = grad_out.size(1);
  parallel_ranges(width, rows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = 0; t < rows; ++t) {
      if (!slice.holds(ids[t])) continue;
      add_range(grad_out.const_data_ptr<T>() + t * width + begin,
                grad_weight.mutable_data_ptr<T>() + (ids[t] - slice.start) * width + begin,
                end - begin);
    }
  });
}

/// Where they cannot: the tokens of one id are brought together, and their sum is rounded once.
template <class T>
void add_by_id(const at::Tensor& grad_out, const VocabularySlice& slice, const std::int64_t* ids,
               const at::Tensor& grad_weight) {
  constexpr std::int64_t kTile = 256;
  const std::int64_t width = grad_out.size(1);
  std::vector<std::int64_t> order(static_cast<std::size_t>(grad_out.size(0)));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return ids[a] != ids[b] ? ids[a] < ids[b] : a < b;
  });
  parallel_ranges(width, grad_out.size(0), [&](std::int64_t begin, std::int64_t end) {
    std::array<Arithmetic<T>, kTile> sum;
    for (auto first = order.begin(); first != order.end();) {
      const std::int64_t id = ids[*first];
      const auto last =
          std::find_if(first, order.end(), [&](std::int64_t t) { return ids[t] != id; });
      for (std::int64_t column = begin; slice.holds(id) && column < end; column += kTile) {
        const std::int64_t columns = std::min(kTile, end - column);
        T* target = grad_weight.mutable_data_ptr<T>() + (id - slice.start) * width + column;
        sum.fill(0);
        add_range<T>(target, sum.data(), columns);
        for (auto t = first; t != last; ++t) {
          add_range(grad_out.const_data_ptr<T>() + *t * width + column, sum.data(), columns);
        }
        for (std::int64_t j = 0; j < columns; ++j)
          store_rounded(target[j], sum[static_cast<std::size_t>(j)]);
      }
      first = last;
    }
  });
}

}  // namespace

void gather_rows(const at::Tensor& weight, const VocabularySlice& slice, const at::Tensor& ids,
                 const at::Tensor& out) {
  if (!weight.is_cpu()) {
    if (fused::takes(weight.scalar_type())) return fused::gather_rows(weight, slice, ids, out);
    return composed::gather_rows(weight, slice, ids, out);
  }
  const std::int64_t* id_of = ids.const_data_ptr<std::int64_t>();
  const std::size_t row_bytes = static_cast<std::size_t>(weight.size(1)) * weight.element_size();
  const char* source = static_cast<const char*>(weight.const_data_ptr());
  char* target = static_cast<char*>(out.mutable_data_ptr());
  parallel_ranges(ids.numel(), weight.size(1), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      char* row = target + static_cast<std::size_t>(t) * row_bytes;
      if (slice.holds(id_of[t])) {
        std::memcpy(row, source + static_cast<std::size_t>(id_of[t] - slice.start) * row_bytes,
                    row_bytes);
      } else {
        std::memset(row, 0, row_bytes);
      }
    }
  });
}

void add_rows(const at::Tensor& grad_out, const VocabularySlice& slice, const at::Tensor& ids,
              const at::Tensor& grad_weight) {
  if (!grad_out.is_cpu()) {
    if (fused::takes(grad_out.scalar_type()))
      return fused::add_rows(grad_out, slice, ids, grad_weight);
    return composed::add_rows(grad_out, slice, ids, grad_weight);
  }
  const std::int64_t* id_of = ids.const_data_ptr<std::int64_t>();
  visit_elements(grad_out.scalar_type(), [&]<class T>() {
    if constexpr (std::is_same_v<T, Arithmetic<T>>) {
      add_in_token_order<T>(grad_out, slice, id_of, grad_weight);
    } else {
      add_by_id<T>(grad_out, slice, id_of, grad_weight);
    }
  });
}

}  // namespace meshplan::executor
