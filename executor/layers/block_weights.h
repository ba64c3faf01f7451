#pragma once

#include <ATen/core/Tensor.h>

#include "executor/kernels/rope.h"
#include "executor/layers/tensor_parallel.h"

namespace meshplan::executor {

/// A decoder block's parameters on one tp rank, views of one flat buffer in the compute type; or,
/// in the same shape, their gradients, which a backward pass overwrites. H and K are this rank's
/// query and key/value heads, f its part of the intermediate size. Undefined where the model has
/// none.
struct BlockWeights {
  at::Tensor input_norm;           // [h]
  at::Tensor qkv;                  // [(H + 2K) D, h]: query rows, then key rows, then value rows
  at::Tensor qkv_bias;             // [(H + 2K) D] or undefined
  at::Tensor q_norm;               // [D] or undefined
  at::Tensor k_norm;               // [D] or undefined
  at::Tensor o_proj;               // [h, H D]
  at::Tensor o_bias;               // [h] or undefined
  at::Tensor post_attention_norm;  // [h]
  at::Tensor gate_up;              // [2f, h]: gate rows, then up rows
  at::Tensor down;                 // [h, f]
};

/// What a block's passes need beside its weights. Rows of an input [T, h] are batch-major: T = b *
/// rope.sequence(). The gradients of q_norm and k_norm are sums over this rank's heads alone, and
/// under sequence parallelism those of all that tp replicates are sums over its rows alone: the
/// caller reduces them over tp.
struct BlockContext {
  double rms_norm_eps;
  const RopeTable& rope;
  TensorParallel tp;
};

}  // namespace meshplan::executor
