#pragma once

#include <ATen/core/Tensor.h>

#include "executor/kernels/vocabulary.h"
#include "executor/layers/tensor_parallel.h"

/// The end of the model: final norm, output head and cross-entropy, forward and backward in one and
/// in chunks of tokens, so that logits live for a chunk alone. Nothing is saved.
namespace meshplan::executor {

/// The head's parameters on one tp rank, or their gradients.
struct HeadWeights {
  at::Tensor norm;    // [h]
  at::Tensor output;  // [V_local, h]
};

struct HeadLossOptions {
  double rms_norm_eps = 1e-6;
  /// The rank's ids; rows of the weight beyond slice.rows are padding, and their gradient is 0.
  VocabularySlice slice;
  std::int64_t chunks = 1;
  /// The gradient is that of scale * loss_sum.
  double scale = 1.0;
  bool with_gradient = true;
};

struct HeadLoss {
  /// Sum of the cross-entropy of this rank's tokens, kIgnoredLabel left out.
  double loss_sum = 0;
  /// The gradient of x; undefined without gradient.
  at::Tensor grad;
};

/// x is the last block's output, [T, h] or this rank's rows of it; labels [T] int64 are those of
/// the next token already, or kIgnoredLabel. Overwrites gradients (not read without gradient). Over
/// tp, each chunk all-reduces its maxima, then its sums; at the end the gradient of the norm's
/// output [T, h] is summed.
HeadLoss head_loss(const HeadWeights& weights, const HeadWeights& gradients,
                   const HeadLossOptions& options, at::Tensor x, const at::Tensor& labels,
                   const TensorParallel& tp);

}  // namespace meshplan::executor
