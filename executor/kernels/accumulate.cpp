#include "executor/kernels/accumulate.h"

#include "executor/kernels/composed.h"
#include "executor/kernels/vector_loops.h"

namespace meshplan::executor {
namespace {

template <class T>
MESHPLAN_VECTOR_CLONES void add_range(const T* term, Arithmetic<T>* total, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) total[i] += widen(term[i]);
}

}  // namespace

void accumulate(const at::Tensor& total, const at::Tensor& term) {
  if (!total.is_cpu()) return composed::accumulate(total, term);
  visit_elements(term.scalar_type(), [&]<class T>() {
    parallel_ranges(term.numel(), 1, [&](std::int64_t begin, std::int64_t end) {
      add_range(term.const_data_ptr<T>() + begin, total.mutable_data_ptr<Arithmetic<T>>() + begin,
                end - begin);
    });
  });
}

}  // namespace meshplan::executor
