#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "executor/kernels/vector_loops.h"
#include "executor/layers/causal_attention.h"
#include "executor/layers/decoder_block.h"
#include "executor/layers/embedding.h"
#include "executor/layers/head_loss.h"
#include "executor/memory/counting_allocator.h"
#include "tests/executor/layers_reference.h"

// The allocations of each layer, in order, are what the memory model expands: +bytes and -bytes as
// the allocator saw them.

namespace meshplan::executor {
namespace {

using Allocations = std::vector<std::int64_t>;

class LayerAllocations : public testing::Test {
 protected:
  void SetUp() override { install_counting_allocator(); }
};

template <class Body>
Allocations allocations_of(const Body& body) {
  record_allocations(true);
  body();
  record_allocations(false);
  return recorded_allocations();
}

std::int64_t own_bytes() { return memory_counts().own.value; }

constexpr BlockCase kCase{2, 24, 40, 8, 2, 6, 56};

struct Block {
  explicit Block(const BlockCase& block_case, at::ScalarType type = at::kFloat)
      : c(block_case),
        weights(random_weights(c, type)),
        gradients(gradients_for(weights)),
        rope(rope_for(c, type)),
        x(at::randn({c.tokens(), c.hidden}, at::kFloat).to(type)) {}

  BlockContext context() { return {kReferenceEps, rope, tp}; }

  BlockCase c;
  BlockWeights weights;
  BlockWeights gradients;
  RopeTable rope;
  at::Tensor x;
  Communicator tp{planner::Axis::kTp};
};

/// Sizes in float32 bytes of what a block allocates.
struct Sizes {
  explicit Sizes(const BlockCase& c)
      : hidden(4 * c.tokens() * c.hidden),
        rstd(4 * c.tokens()),
        qkv(4 * c.tokens() * (c.heads + 2 * c.kv_heads) * c.head_dim),
        qk(4 * c.tokens() * (c.heads + c.kv_heads) * c.head_dim),
        out(4 * c.tokens() * c.heads * c.head_dim),
        kv(4 * c.tokens() * c.kv_heads * c.head_dim),
        log_sum_exp(4 * c.tokens() * c.heads),
        gate_up(8 * c.tokens() * c.intermediate),
        act(4 * c.tokens() * c.intermediate) {}

  std::int64_t hidden, rstd, qkv, qk, out, kv, log_sum_exp, gate_up, act;
};

/// Heads of an attention, [b, s, heads, D] in memory, as the layer has them.
at::Tensor heads_of(const BlockCase& c, std::int64_t heads) {
  return at::randn({c.batch, c.sequence, heads, c.head_dim}).transpose(1, 2);
}

/// What ATen allocates in one attention forward pass, its results included.
Allocations attention_allocations(const BlockCase& c) {
  const at::Tensor q = heads_of(c, c.heads), k = heads_of(c, c.kv_heads);
  AttentionOutput output;
  return allocations_of([&] { output = causal_attention(q, k, k); });
}

/// The same for the backward pass, without the frees of its results.
Allocations attention_backward_allocations(const BlockCase& c) {
  const at::Tensor q = heads_of(c, c.heads), k = heads_of(c, c.kv_heads);
  const AttentionOutput output = causal_attention(q, k, k);
  AttentionGradients gradients;
  return allocations_of([&] { gradients = causal_attention_backward(q, q, k, k, output); });
}

void append(Allocations& to, const Allocations& from) {
  to.insert(to.end(), from.begin(), from.end());
}

TEST_F(LayerAllocations, BlockSavesWhatTheFormulaSays) {
  for (const bool qk_norm : {false, true}) {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      BlockCase c = kCase;
      c.qk_norm = qk_norm;
      Block block(c, type);
      const auto element = static_cast<std::int64_t>(at::elementSize(type));
      const std::int64_t before =
          own_bytes() - element * c.tokens() * c.hidden;  // x is part of what is saved
      BlockSaved saved;
      at::Tensor y = forward_block(block.weights, block.context(), {}, block.x, saved);
      y.reset();
      const std::int64_t per_token =
          element * (2 * c.hidden + 2 * (c.heads + c.kv_heads) * c.head_dim + 2 * c.intermediate) +
          4 * (2 + c.heads);
      EXPECT_EQ(own_bytes() - before, c.tokens() * per_token) << type;
      std::printf("saved by a block, %s: %ld bytes, formula %ld\n", c10::toString(type),
                  own_bytes() - before, c.tokens() * per_token);
    }
  }
}

TEST_F(LayerAllocations, BlockForwardKeepsItsOrder) {
  for (const bool qk_norm : {false, true}) {
    BlockCase c = kCase;
    c.qk_norm = qk_norm;
    c.qkv_bias = c.o_bias = true;
    Block block(c);
    const Sizes s(c);
    BlockSaved saved;
    at::Tensor y;
    const Allocations actual = allocations_of(
        [&] { y = forward_block(block.weights, block.context(), {}, block.x, saved); });
    Allocations expected = {s.rstd, s.hidden, s.qkv, -s.hidden};
    if (qk_norm) expected.push_back(s.qk);
    append(expected, attention_allocations(c));
    if (qk_norm) expected.push_back(-s.qk);
    append(expected, {s.hidden, s.rstd, s.hidden, s.gate_up, -s.hidden, s.act, s.hidden, -s.act});
    EXPECT_EQ(actual, expected);
  }
}

TEST_F(LayerAllocations, BlockBackwardKeepsItsOrder) {
  for (const bool qk_norm : {false, true}) {
    BlockCase c = kCase;
    c.qk_norm = qk_norm;
    c.qkv_bias = c.o_bias = true;
    Block block(c);
    const Sizes s(c);
    BlockSaved saved;
    at::Tensor grad = forward_block(block.weights, block.context(), {}, block.x, saved);
    block.x.reset();
    const Allocations actual = allocations_of([&] {
      grad = backward_block(block.weights, block.gradients, block.context(), std::move(saved),
                            std::move(grad));
    });
    Allocations expected = {s.act, -s.act, s.hidden, s.hidden, -s.hidden, -s.gate_up};
    // The order among what is freed at one point is not part of the specification.
    append(expected, {-s.hidden, -s.rstd, -s.hidden, s.out});
    if (qk_norm) expected.push_back(s.qk);
    append(expected, attention_backward_allocations(c));
    if (qk_norm) expected.push_back(-s.qk);
    append(expected, {-s.out, -s.out, -s.log_sum_exp, -s.out, -s.kv, -s.kv});
    append(expected, {s.hidden, s.hidden, -s.hidden, -s.qkv, -s.hidden, -s.rstd, -s.hidden});
    const auto frees_sorted = [](Allocations list) {
      for (auto first = list.begin(); first != list.end();) {
        const auto last = std::find_if(
            first, list.end(), [&](std::int64_t bytes) { return (bytes < 0) != (*first < 0); });
        if (*first < 0) std::sort(first, last);
        first = last;
      }
      return list;
    };
    EXPECT_EQ(frees_sorted(actual), frees_sorted(expected));
  }
}

TEST_F(LayerAllocations, EmbeddingAllocatesItsOutput) {
  const at::Tensor weight = at::randn({30, 12});
  const at::Tensor ids = at::randint(0, 30, {20}, at::kLong);
  const at::Tensor grad_weight = at::zeros_like(weight);
  Communicator tp(planner::Axis::kTp);
  at::Tensor x;
  EXPECT_EQ(allocations_of([&] {
              x = forward_embedding(weight, {0, 30}, ids, {tp});
            }),
            Allocations({20 * 12 * 4}));
  EXPECT_EQ(allocations_of([&] {
              backward_embedding(x, {0, 30}, ids, {tp}, grad_weight);
            }),
            Allocations());
}

Allocations head_allocations(at::ScalarType type, bool with_gradient) {
  constexpr std::int64_t kTokens = 10, kHidden = 16, kVocabulary = 33;
  const auto options = at::TensorOptions().dtype(type);
  const HeadWeights weights{at::ones({kHidden}, options),
                            at::ones({kVocabulary, kHidden}, options)};
  const HeadWeights gradients{at::empty_like(weights.norm), at::empty_like(weights.output)};
  const at::Tensor labels = at::zeros({kTokens}, at::kLong);
  at::Tensor x = at::ones({kTokens, kHidden}, options);
  Communicator tp(planner::Axis::kTp);
  HeadLoss result;
  // Three chunks: 4, 4 and 2 tokens.
  return allocations_of([&] {
    result = head_loss(weights, gradients, {1e-6, {0, kVocabulary}, 3, 1.0, with_gradient},
                       std::move(x), labels, {tp});
  });
}

TEST_F(LayerAllocations, HeadKeepsItsOrder) {
  const std::int64_t hidden = 4 * 10 * 16;
  Allocations expected = {40, hidden, hidden};
  for (const std::int64_t rows : {4, 4, 2}) {
    append(expected, {12 * rows, 4 * 33 * rows, -4 * 33 * rows, -12 * rows});
  }
  append(expected, {-hidden, -40, -hidden});
  EXPECT_EQ(head_allocations(at::kFloat, true), expected);
  expected.erase(expected.begin() + 2);
  EXPECT_EQ(head_allocations(at::kFloat, false), expected);
}

TEST_F(LayerAllocations, HeadInBfloat16AddsFloat32LogitsAndGradient) {
  const std::int64_t hidden = 2 * 10 * 16;
  Allocations expected = {40, hidden, hidden, 4 * 33 * 16};
  for (const std::int64_t rows : {4, 4, 2}) {
    append(expected,
           {12 * rows, 2 * 33 * rows, 4 * 33 * rows, -4 * 33 * rows, -2 * 33 * rows, -12 * rows});
  }
  append(expected, {-4 * 33 * 16, -hidden, -40, -hidden});
  EXPECT_EQ(head_allocations(at::kBFloat16, true), expected);
}

}  // namespace
}  // namespace meshplan::executor
