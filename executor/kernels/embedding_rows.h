#pragma once

#include <ATen/core/Tensor.h>

#include "executor/kernels/vocabulary.h"

/// Rows of an embedding [V_local, h] that is split by vocabulary over tp. ids [T] are int64 ids of
/// the whole vocabulary.
namespace meshplan::executor {

/// out [T, h] = the row of each id, zeros for an id that the slice does not hold.
void gather_rows(const at::Tensor& weight, const VocabularySlice& slice, const at::Tensor& ids,
                 const at::Tensor& out);

/// grad_weight [V_local, h] += grad_out [T, h], row by row, in one order whatever the number of
/// threads. All rows of one id are summed in float32 before they are rounded to bfloat16 (which
/// takes 8 T bytes off the heap).
void add_rows(const at::Tensor& grad_out, const VocabularySlice& slice, const at::Tensor& ids,
              const at::Tensor& grad_weight);

}  // namespace meshplan::executor
