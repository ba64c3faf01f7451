#pragma once

#include <ATen/core/Tensor.h>

#include <string>

/// Causal attention on CUDA by the kernels that PyTorch brings: FlashAttention-2's and cuDNN's for
/// 16-bit types, the memory-efficient ones for float32, whole score matrices for what is left.
/// Shapes and strides are those of executor/layers/causal_attention.h.
namespace meshplan::executor::cuda_attention {

enum class Algorithm { kFlash, kCudnn, kEfficient, kComposed };
std::string to_string(Algorithm algorithm);

/// The algorithm for tensors of this type and shape, the same at every call. Where flash and cuDNN
/// both may serve, the first call for a shape times both, forward and backward on random heads of
/// one sequence, and takes the faster; cuDNN only where its results agree with flash's. In
/// deterministic mode (at::Context) always flash. MESHPLAN_ATTENTION=flash or cudnn settles it
/// untimed.
Algorithm choose(const at::Tensor& q, const at::Tensor& k);

struct Output {
  at::Tensor out;
  at::Tensor log_sum_exp;
  at::Tensor random_seed;
  at::Tensor random_offset;
};

struct Gradients {
  at::Tensor q;
  at::Tensor k;
  at::Tensor v;
};

Output forward(Algorithm algorithm, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);
Gradients backward(Algorithm algorithm, const at::Tensor& grad_out, const at::Tensor& q,
                   const at::Tensor& k, const at::Tensor& v, const Output& output);

}  // namespace meshplan::executor::cuda_attention
