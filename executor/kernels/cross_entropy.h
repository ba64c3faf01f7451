#pragma once

#include <ATen/core/Tensor.h>

#include "executor/kernels/vocabulary.h"

/// Cross-entropy over a vocabulary that is split over tp, in three passes with a reduction over tp
/// after each of the first two (Megatron-LM, Shoeybi et al. 2019, arXiv 1909.08053). Of logits [C,
/// V] the slice's columns count; columns beyond are padding: probability 0, gradient 0. labels [C]
/// are int64 ids of the whole vocabulary or kIgnoredLabel. logits and per-row values have
/// statistics_type of the compute type.
namespace meshplan::executor {

/// max [C]: of each row, -infinity where the slice is empty.
void cross_entropy_max(const at::Tensor& logits, const VocabularySlice& slice,
                       const at::Tensor& max);

/// logits become exp(logit - max), max [C] being the maximum over tp. Writes sums [2, C]: the row's
/// sum, and the label's logit - max, which is 0 where another rank holds the label.
void cross_entropy_exp(const at::Tensor& logits, const VocabularySlice& slice,
                       const at::Tensor& max, const at::Tensor& labels, const at::Tensor& sums);

/// sums [2, C] now summed over tp. Writes losses [C], log(sum) - label's logit, and, where it is
/// defined, gradient [C, V] in the compute type = scale * (exps / sum - 1 at the label). Both are 0
/// in rows of kIgnoredLabel. gradient may be exps itself.
void cross_entropy_gradient(const at::Tensor& exps, const VocabularySlice& slice,
                            const at::Tensor& sums, const at::Tensor& labels, double scale,
                            const at::Tensor& losses, const at::Tensor& gradient);

}  // namespace meshplan::executor
