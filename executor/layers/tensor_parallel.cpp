#include "executor/layers/tensor_parallel.h"

#include <ATen/ATen.h>

#include <utility>

namespace meshplan::executor {

RowGather::RowGather(const TensorParallel& tp, at::Tensor rows) : rows_(std::move(rows)) {
  if (!tp.splits_tokens()) return;
  whole_ = at::empty({rows_.size(0) * tp.group.size(), rows_.size(1)}, rows_.options());
  pending_ = tp.group.all_gather(whole_, rows_);
}

at::Tensor RowGather::finish() {
  pending_.wait();
  if (!whole_.defined()) return std::move(rows_);
  rows_.reset();
  return std::move(whole_);
}

RowSum::RowSum(const TensorParallel& tp, at::Tensor product) : product_(std::move(product)) {
  if (!tp.splits_tokens()) {
    pending_ = tp.group.all_reduce(product_, ReduceOp::kSum);
    return;
  }
  rows_ = at::empty({tp.residual_rows(product_.size(0)), product_.size(1)}, product_.options());
  pending_ = tp.group.reduce_scatter(rows_, product_);
}

at::Tensor RowSum::finish() {
  pending_.wait();
  if (!rows_.defined()) return std::move(product_);
  product_.reset();
  return std::move(rows_);
}

}  // namespace meshplan::executor
