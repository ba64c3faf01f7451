#pragma once

#include <ATen/core/Tensor.h>

#include "executor/comm/communicator.h"

/// How the residual stream lies over a tensor-parallel group. Without sequence parallelism every
/// rank has all T rows, and row-parallel products are all-reduced; with it each has T / tp of them
/// (Korthikanti et al. 2022, arXiv 2205.05198), gathered before column-parallel layers, and
/// products are reduce-scattered.
namespace meshplan::executor {

struct TensorParallel {
  Communicator& group;
  bool sequence_parallel = false;

  bool splits_tokens() const { return sequence_parallel && group.size() > 1; }
  /// Rows that a rank has of T.
  std::int64_t residual_rows(std::int64_t tokens) const {
    return splits_tokens() ? tokens / group.size() : tokens;
  }
};

/// All ranks' rows, on their way. Without sequence parallelism the rows themselves.
class RowGather {
 public:
  RowGather(const TensorParallel& tp, at::Tensor rows);
  /// Waits; the rank's own rows are let go.
  at::Tensor finish();

 private:
  at::Tensor rows_;
  at::Tensor whole_;
  Pending pending_;
};

/// The sum over tp of products [T, h], on its way: in their own memory, or as this rank's rows.
class RowSum {
 public:
  RowSum(const TensorParallel& tp, at::Tensor product);
  /// Waits; the product is let go.
  at::Tensor finish();

 private:
  at::Tensor product_;
  at::Tensor rows_;
  Pending pending_;
};

}  // namespace meshplan::executor
