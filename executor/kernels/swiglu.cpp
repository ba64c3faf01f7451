#include "executor/kernels/swiglu.h"

#include "executor/kernels/composed.h"
#include "executor/kernels/fused.h"
#include "executor/kernels/vector_loops.h"

namespace meshplan::executor {
namespace {

template <class T>
MESHPLAN_VECTOR_CLONES void forward_rows(const T* gate_up, T* act, std::int64_t rows,
                                         std::int64_t width) {
  using Real = Arithmetic<T>;
  for (std::int64_t t = 0; t < rows; ++t, gate_up += 2 * width, act += width) {
#pragma omp simd
    for (std::int64_t j = 0; j < width; ++j) {
      const Real gate = widen(gate_up[j]);
      store_rounded(act[j], gate / (1 + vector_exp(-gate)) * widen(gate_up[width + j]));
    }
  }
}

template <class T>
MESHPLAN_VECTOR_CLONES void backward_rows(T* gate_up, const T* grad_act, std::int64_t rows,
                                          std::int64_t width) {
  using Real = Arithmetic<T>;
  for (std::int64_t t = 0; t < rows; ++t, gate_up += 2 * width, grad_act += width) {
#pragma omp simd
    for (std::int64_t j = 0; j < width; ++j) {
      const Real gate = widen(gate_up[j]);
      const Real up = widen(gate_up[width + j]);
      const Real grad = widen(grad_act[j]);
      const Real sigmoid = 1 / (1 + vector_exp(-gate));
      const Real silu = gate * sigmoid;
      store_rounded(gate_up[j], grad * up * (sigmoid + silu * (1 - sigmoid)));
      store_rounded(gate_up[width + j], grad * silu);
    }
  }
}

}  // namespace

void swiglu(const at::Tensor& gate_up, const at::Tensor& act) {
  if (!act.is_cpu()) {
    if (fused::takes(act.scalar_type())) return fused::swiglu(gate_up, act);
    return composed::swiglu(gate_up, act);
  }
  const std::int64_t width = act.size(1);
  visit_elements(act.scalar_type(), [&]<class T>() {
    parallel_ranges(act.size(0), width, [&](std::int64_t begin, std::int64_t end) {
      forward_rows(gate_up.const_data_ptr<T>() + begin * 2 * width,
                   act.mutable_data_ptr<T>() + begin * width, end - begin, width);
    });
  });
}

void swiglu_backward(const at::Tensor& gate_up, const at::Tensor& grad_act) {
  if (!grad_act.is_cpu()) {
    if (fused::takes(grad_act.scalar_type())) return fused::swiglu_backward(gate_up, grad_act);
    return composed::swiglu_backward(gate_up, grad_act);
  }
  const std::int64_t width = grad_act.size(1);
  visit_elements(grad_act.scalar_type(), [&]<class T>() {
    parallel_ranges(grad_act.size(0), width, [&](std::int64_t begin, std::int64_t end) {
      backward_rows(gate_up.mutable_data_ptr<T>() + begin * 2 * width,
                    grad_act.const_data_ptr<T>() + begin * width, end - begin, width);
    });
  });
}

}  // namespace meshplan::executor
