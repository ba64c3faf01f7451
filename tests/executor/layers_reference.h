#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <random>
#include <vector>

#include "executor/layers/block_weights.h"
#include "executor/layers/head_loss.h"

/// The layers as models write them, in plain ATen operations that autograd follows; independent of
/// executor/kernels.
namespace meshplan::executor {

/// Sizes of one decoder block, and which optional parameters it has.
struct BlockCase {
  std::int64_t batch = 1;
  std::int64_t sequence = 1;
  std::int64_t hidden = 1;
  std::int64_t heads = 1;
  std::int64_t kv_heads = 1;
  std::int64_t head_dim = 2;
  std::int64_t intermediate = 1;
  bool qkv_bias = false;
  bool o_bias = false;
  bool qk_norm = false;

  std::int64_t tokens() const { return batch * sequence; }
};

inline constexpr double kReferenceEps = 1e-5;

/// Odd sizes, heads of any width, groups of 1, 2 and 4, every combination of optional parameters.
BlockCase random_block_case(std::mt19937& random);

/// Values of the size that trained models have.
BlockWeights random_weights(const BlockCase& c, at::ScalarType type);

/// The tensors of a block that are defined, in declaration order.
std::vector<at::Tensor*> tensors_of(BlockWeights& weights);
std::vector<at::Tensor*> tensors_of(HeadWeights& weights);

/// Tensors shaped as `weights`, all views of one buffer of NaN: what a backward pass leaves
/// unwritten shows.
BlockWeights gradients_for(BlockWeights weights);

/// Copies in float64 that autograd tracks.
BlockWeights tracked(BlockWeights weights);
HeadWeights tracked(HeadWeights weights);
at::Tensor tracked(const at::Tensor& tensor);

RopeTable rope_for(const BlockCase& c, at::ScalarType type);

/// x [T, h] to y [T, h] in float64; table is made for the type under test.
at::Tensor reference_block(const BlockWeights& weights, const BlockCase& c, const RopeTable& table,
                           const at::Tensor& x);

/// Sum of the cross-entropy over the labels that count; rows of the weight from `vocabulary` on are
/// padding.
at::Tensor reference_loss(const HeadWeights& weights, std::int64_t vocabulary, const at::Tensor& x,
                          const at::Tensor& labels);

}  // namespace meshplan::executor
