#pragma once

#include <ATen/core/Tensor.h>

#include "executor/comm/communicator.h"
#include "executor/kernels/vocabulary.h"

/// The token embedding, split by vocabulary over tp. Saved: the ids.
namespace meshplan::executor {

/// ids [T] int64 to x [T, h], the same on all ranks. weight is [V_local, h]. One all-reduce over
/// tp.
at::Tensor forward_embedding(const at::Tensor& weight, const VocabularySlice& slice,
                             const at::Tensor& ids, Communicator& tp);

/// Adds to grad_weight, which the caller has zeroed, or to which the tied output head has written.
void backward_embedding(const at::Tensor& grad, const VocabularySlice& slice, const at::Tensor& ids,
                        const at::Tensor& grad_weight);

}  // namespace meshplan::executor
