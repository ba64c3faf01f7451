#include "tests/executor/layers_reference.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "executor/kernels/vector_loops.h"

namespace meshplan::executor {
namespace {

at::Tensor reference_norm(const at::Tensor& x, const at::Tensor& weight) {
  return weight * (x * (x.square().mean(-1, true) + kReferenceEps).rsqrt());
}

/// Hugging Face's apply_rotary_pos_emb on [b, heads, s, D].
at::Tensor reference_rope(const at::Tensor& x, const RopeTable& table) {
  const at::Tensor cos = at::cat({table.cos, table.cos}, -1).to(at::kDouble);
  const at::Tensor sin = at::cat({table.sin, table.sin}, -1).to(at::kDouble);
  const std::int64_t half = x.size(-1) / 2;
  const at::Tensor turned = at::cat({-x.narrow(-1, half, half), x.narrow(-1, 0, half)}, -1);
  return x * cos + turned * sin;
}

at::Tensor split_heads(const at::Tensor& x, const BlockCase& c) {
  return x.reshape({c.batch, c.sequence, x.size(1) / c.head_dim, c.head_dim}).transpose(1, 2);
}

}  // namespace

BlockCase random_block_case(std::mt19937& random) {
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  BlockCase c;
  c.batch = pick(1, 3);
  c.sequence = pick(1, 45);
  c.hidden = pick(3, 70);
  c.kv_heads = pick(1, 3);
  c.heads = c.kv_heads * (std::int64_t{1} << pick(0, 2));
  c.head_dim = 2 * pick(1, 20);
  c.intermediate = pick(1, 100);
  c.qkv_bias = pick(0, 1) == 1;
  c.o_bias = pick(0, 1) == 1;
  c.qk_norm = pick(0, 1) == 1;
  return c;
}

BlockWeights random_weights(const BlockCase& c, at::ScalarType type) {
  const std::int64_t qkv_rows = (c.heads + 2 * c.kv_heads) * c.head_dim;
  const auto vector = [&](std::int64_t size) {
    return at::randn({size}, at::kDouble).mul_(0.2).add_(1).to(type);
  };
  const auto matrix = [&](std::int64_t rows, std::int64_t columns) {
    return at::randn({rows, columns}, at::kDouble)
        .div_(std::sqrt(static_cast<double>(columns)))
        .to(type);
  };
  BlockWeights weights;
  weights.input_norm = vector(c.hidden);
  weights.qkv = matrix(qkv_rows, c.hidden);
  if (c.qkv_bias) weights.qkv_bias = vector(qkv_rows);
  if (c.qk_norm) weights.q_norm = vector(c.head_dim);
  if (c.qk_norm) weights.k_norm = vector(c.head_dim);
  weights.o_proj = matrix(c.hidden, c.heads * c.head_dim);
  if (c.o_bias) weights.o_bias = vector(c.hidden);
  weights.post_attention_norm = vector(c.hidden);
  weights.gate_up = matrix(2 * c.intermediate, c.hidden);
  weights.down = matrix(c.hidden, c.intermediate);
  return weights;
}

std::vector<at::Tensor*> tensors_of(BlockWeights& weights) {
  std::vector<at::Tensor*> all = {
      &weights.input_norm, &weights.qkv,    &weights.qkv_bias, &weights.q_norm,
      &weights.k_norm,     &weights.o_proj, &weights.o_bias,   &weights.post_attention_norm,
      &weights.gate_up,    &weights.down};
  std::erase_if(all, [](const at::Tensor* tensor) { return !tensor->defined(); });
  return all;
}

std::vector<at::Tensor*> tensors_of(HeadWeights& weights) {
  return {&weights.norm, &weights.output};
}

BlockWeights gradients_for(BlockWeights weights) {
  const std::vector<at::Tensor*> tensors = tensors_of(weights);
  std::int64_t count = 0;
  for (const at::Tensor* tensor : tensors) count += tensor->numel();
  const at::Tensor buffer =
      at::full({count}, std::numeric_limits<double>::quiet_NaN(), weights.input_norm.options());
  std::int64_t offset = 0;
  for (at::Tensor* tensor : tensors) {
    const std::int64_t size = tensor->numel();
    *tensor = buffer.narrow(0, offset, size).view(tensor->sizes());
    offset += size;
  }
  return weights;
}

at::Tensor tracked(const at::Tensor& tensor) {
  return tensor.to(at::kDouble, /*non_blocking=*/false, /*copy=*/true).requires_grad_();
}

BlockWeights tracked(BlockWeights weights) {
  for (at::Tensor* tensor : tensors_of(weights)) *tensor = tracked(*tensor);
  return weights;
}

HeadWeights tracked(HeadWeights weights) {
  return {tracked(weights.norm), tracked(weights.output)};
}

RopeTable rope_for(const BlockCase& c, at::ScalarType type) {
  return make_rope_table({}, c.head_dim, c.sequence, statistics_type(type), at::kCPU);
}

at::Tensor reference_block(const BlockWeights& weights, const BlockCase& c, const RopeTable& table,
                           const at::Tensor& x) {
  at::Tensor qkv = at::matmul(reference_norm(x, weights.input_norm), weights.qkv.t());
  if (weights.qkv_bias.defined()) qkv = qkv + weights.qkv_bias;
  const std::int64_t q_width = c.heads * c.head_dim;
  const std::int64_t kv_width = c.kv_heads * c.head_dim;
  at::Tensor q = split_heads(qkv.narrow(1, 0, q_width), c);
  at::Tensor k = split_heads(qkv.narrow(1, q_width, kv_width), c);
  const at::Tensor v = split_heads(qkv.narrow(1, q_width + kv_width, kv_width), c);
  if (c.qk_norm) {
    q = reference_norm(q, weights.q_norm);
    k = reference_norm(k, weights.k_norm);
  }
  const std::int64_t group = c.heads / c.kv_heads;
  const at::Tensor keys = reference_rope(k, table).repeat_interleave(group, 1);
  const at::Tensor scores = at::matmul(reference_rope(q, table), keys.transpose(-1, -2)) /
                            std::sqrt(static_cast<double>(c.head_dim));
  const at::Tensor future = at::ones({c.sequence, c.sequence}, at::kBool).triu(1);
  const at::Tensor seen = scores.masked_fill(future, -std::numeric_limits<double>::infinity());
  const at::Tensor heads = at::matmul(at::softmax(seen, -1), v.repeat_interleave(group, 1));
  at::Tensor x2 =
      at::matmul(heads.transpose(1, 2).reshape({c.tokens(), q_width}), weights.o_proj.t());
  if (weights.o_bias.defined()) x2 = x2 + weights.o_bias;
  x2 = x2 + x;
  const at::Tensor gate_up =
      at::matmul(reference_norm(x2, weights.post_attention_norm), weights.gate_up.t());
  const std::vector<at::Tensor> halves = gate_up.chunk(2, 1);
  return x2 + at::matmul(at::silu(halves[0]) * halves[1], weights.down.t());
}

at::Tensor reference_loss(const HeadWeights& weights, std::int64_t vocabulary, const at::Tensor& x,
                          const at::Tensor& labels) {
  const at::Tensor output = weights.output.narrow(0, 0, vocabulary);
  const at::Tensor logits = at::matmul(reference_norm(x, weights.norm), output.t());
  return at::cross_entropy_loss(logits, labels, {}, at::Reduction::Sum, kIgnoredLabel);
}

}  // namespace meshplan::executor
