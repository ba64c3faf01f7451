#include "executor/layers/embedding.h"

#include <ATen/ATen.h>

#include "executor/kernels/embedding_rows.h"

namespace meshplan::executor {

at::Tensor forward_embedding(const at::Tensor& weight, const VocabularySlice& slice,
                             const at::Tensor& ids, const TensorParallel& tp) {
  at::Tensor x = at::empty({ids.numel(), weight.size(1)}, weight.options());
  gather_rows(weight, slice, ids, x);
  return RowSum(tp, std::move(x)).finish();
}

void backward_embedding(const at::Tensor& grad, const VocabularySlice& slice, const at::Tensor& ids,
                        const TensorParallel& tp, const at::Tensor& grad_weight) {
  add_rows(RowGather(tp, grad).finish(), slice, ids, grad_weight);
}

}  // namespace meshplan::executor
