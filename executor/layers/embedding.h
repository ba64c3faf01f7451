#pragma once

#include <ATen/core/Tensor.h>

#include "executor/kernels/vocabulary.h"
#include "executor/layers/tensor_parallel.h"

/// The token embedding, split by vocabulary over tp. Saved: the ids.
namespace meshplan::executor {

/// ids [T] int64 to rows of the residual stream, [T, h] or this rank's of them. weight is [V_local,
/// h]. One all-reduce or reduce-scatter over tp.
at::Tensor forward_embedding(const at::Tensor& weight, const VocabularySlice& slice,
                             const at::Tensor& ids, const TensorParallel& tp);

/// grad is of the rows. Adds to grad_weight, which the caller has zeroed, or to which the tied
/// output head has written.
void backward_embedding(const at::Tensor& grad, const VocabularySlice& slice, const at::Tensor& ids,
                        const TensorParallel& tp, const at::Tensor& grad_weight);

}  // namespace meshplan::executor
