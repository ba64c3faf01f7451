#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <random>

#include "common/error.h"
#include "executor/kernels/vector_loops.h"
#include "executor/layers/decoder_block.h"
#include "executor/layers/embedding.h"
#include "executor/layers/linear.h"
#include "tests/executor/layers_reference.h"
#include "tests/executor/parity.h"

// Explicit backward passes against torch's autograd in float64 on the same values.

namespace meshplan::executor {
namespace {

constexpr int kCases = 24;

/// Relative to the largest magnitude of each tensor.
double tolerance(at::ScalarType type) {
  return type == at::kDouble ? 1e-9 : type == at::kFloat ? 1e-5 : 6e-2;
}

struct BlockRun {
  at::Tensor y;
  at::Tensor grad_x;
  BlockWeights gradients;
};

BlockRun run_block(const BlockWeights& weights, const RopeTable& rope, const at::Tensor& x,
                   const at::Tensor& grad_y, const planner::Recompute& recompute = {}) {
  Communicator tp(planner::Axis::kTp);
  const BlockContext context{kReferenceEps, rope, {tp}};
  BlockRun run{{}, {}, gradients_for(weights)};
  BlockSaved saved;
  run.y = forward_block(weights, context, recompute, x, saved);
  EXPECT_EQ(saved.attention.qkv.defined(), !recompute.qkv);
  EXPECT_EQ(saved.attention.attention.out.defined(), !recompute.attention);
  EXPECT_EQ(saved.feed_forward.gate_up.defined(), !recompute.gate_up);
  at::Tensor grad = grad_y.clone();
  const void* memory = grad.data_ptr();
  run.grad_x = backward_block(weights, run.gradients, context, std::move(saved), std::move(grad));
  EXPECT_EQ(run.grad_x.data_ptr(), memory) << "the gradient of x takes the memory of that of y";
  return run;
}

void expect_block_agrees(const BlockCase& c, at::ScalarType type, Parity& parity) {
  BlockWeights weights = random_weights(c, type);
  const at::Tensor x = at::randn({c.tokens(), c.hidden}, at::kDouble).to(type);
  const at::Tensor grad_y = at::randn({c.tokens(), c.hidden}, at::kDouble).to(type);
  const RopeTable rope = rope_for(c, type);
  BlockRun run = run_block(weights, rope, x, grad_y);

  BlockWeights exact = tracked(weights);
  const at::Tensor exact_x = tracked(x);
  const at::Tensor y = reference_block(exact, c, rope, exact_x);
  torch::autograd::variable_list inputs = {exact_x};
  for (const at::Tensor* tensor : tensors_of(exact)) inputs.push_back(*tensor);
  const auto expected = torch::autograd::grad({y}, inputs, {grad_y.to(at::kDouble)});

  parity.expect_close(run.y, y.detach(), tolerance(type), "y");
  parity.expect_close(run.grad_x, expected[0], tolerance(type), "grad_x");
  const std::vector<at::Tensor*> gradients = tensors_of(run.gradients);
  ASSERT_EQ(gradients.size() + 1, expected.size());
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    parity.expect_close(*gradients[i], expected[i + 1], tolerance(type),
                        ("parameter " + std::to_string(i)).c_str());
  }
}

TEST(DecoderBlock, AgreesWithAutograd) {
  Parity parity("decoder block");
  std::mt19937 random(1);
  at::manual_seed(1);
  for (int i = 0; i < kCases; ++i) {
    const BlockCase c = random_block_case(random);
    for (const at::ScalarType type : {at::kDouble, at::kFloat})
      expect_block_agrees(c, type, parity);
  }
}

TEST(DecoderBlock, AgreesWithAutogradForEveryFamily) {
  Parity parity("decoder block, families");
  at::manual_seed(2);
  // llama and mistral, qwen2, llama with attention_bias, qwen3 (head_dim is not hidden / heads).
  BlockCase c{2, 21, 64, 8, 2, 8, 96};
  for (const auto& [qkv_bias, o_bias, qk_norm, head_dim] : {std::tuple{false, false, false, 8},
                                                            {true, false, false, 8},
                                                            {true, true, false, 8},
                                                            {false, false, true, 20}}) {
    c.qkv_bias = qkv_bias;
    c.o_bias = o_bias;
    c.qk_norm = qk_norm;
    c.head_dim = head_dim;
    for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16})
      expect_block_agrees(c, type, parity);
  }
}

/// Causality: what comes later changes nothing.
TEST(DecoderBlock, LaterTokensDoNotReachEarlierOnes) {
  at::manual_seed(3);
  const BlockCase c{1, 12, 16, 2, 1, 8, 24};
  const BlockWeights weights = random_weights(c, at::kFloat);
  const RopeTable rope = rope_for(c, at::kFloat);
  Communicator tp(planner::Axis::kTp);
  const BlockContext context{kReferenceEps, rope, {tp}};
  const at::Tensor x = at::randn({12, 16});
  const at::Tensor changed = x.clone();
  changed.narrow(0, 7, 5).add_(1);
  BlockSaved saved;
  const at::Tensor y = forward_block(weights, context, {}, x, saved);
  const at::Tensor y_changed = forward_block(weights, context, {}, changed, saved);
  EXPECT_TRUE(at::allclose(y.narrow(0, 0, 7), y_changed.narrow(0, 0, 7), 0, 1e-6));
  EXPECT_FALSE(at::allclose(y.narrow(0, 7, 1), y_changed.narrow(0, 7, 1)));
}

TEST(DecoderBlock, WhatWasDroppedIsComputedAgainBitwise) {
  at::manual_seed(5);
  for (const bool qk_norm : {false, true}) {
    const BlockCase c{2, 33, 40, 4, 2, 12, 56, true, true, qk_norm};
    BlockWeights weights = random_weights(c, at::kFloat);
    const RopeTable rope = rope_for(c, at::kFloat);
    const at::Tensor x = at::randn({c.tokens(), c.hidden});
    const at::Tensor grad = at::randn({c.tokens(), c.hidden});
    BlockRun kept = run_block(weights, rope, x, grad);
    for (const planner::Recompute& recompute :
         {planner::Recompute{true, false, false}, planner::Recompute{false, false, true},
          planner::Recompute{true, false, true}, planner::Recompute{true, true, true}}) {
      BlockRun again = run_block(weights, rope, x, grad, recompute);
      EXPECT_TRUE(at::equal(kept.y, again.y));
      EXPECT_TRUE(at::equal(kept.grad_x, again.grad_x));
      for (std::size_t i = 0; i < tensors_of(kept.gradients).size(); ++i)
        EXPECT_TRUE(at::equal(*tensors_of(kept.gradients)[i], *tensors_of(again.gradients)[i]))
            << i;
    }
  }
}

TEST(DecoderBlock, RepeatsBitwise) {
  at::manual_seed(4);
  const BlockCase c{2, 33, 40, 4, 2, 12, 56, true, true, true};
  BlockWeights weights = random_weights(c, at::kFloat);
  const at::Tensor x = at::randn({c.tokens(), c.hidden});
  const at::Tensor grad = at::randn({c.tokens(), c.hidden});
  BlockRun first = run_block(weights, rope_for(c, at::kFloat), x, grad);
  BlockRun second = run_block(weights, rope_for(c, at::kFloat), x, grad);
  EXPECT_TRUE(at::equal(first.y, second.y));
  EXPECT_TRUE(at::equal(first.grad_x, second.grad_x));
  for (std::size_t i = 0; i < tensors_of(first.gradients).size(); ++i) {
    EXPECT_TRUE(at::equal(*tensors_of(first.gradients)[i], *tensors_of(second.gradients)[i])) << i;
  }
}

TEST(Linear, AgreesWithAutograd) {
  Parity parity("linear");
  std::mt19937 random(5);
  at::manual_seed(5);
  for (int i = 0; i < kCases; ++i) {
    const std::int64_t rows = 1 + static_cast<std::int64_t>(random() % 60);
    const std::int64_t in = 1 + static_cast<std::int64_t>(random() % 60);
    const std::int64_t out = 1 + static_cast<std::int64_t>(random() % 60);
    for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
      const auto options = at::TensorOptions().dtype(type);
      const at::Tensor x = at::randn({rows, in}, options), weight = at::randn({out, in}, options);
      const at::Tensor bias = i % 2 == 0 ? at::randn({out}, options) : at::Tensor();
      const at::Tensor y = at::empty({rows, out}, options),
                       grad_y = at::randn({rows, out}, options);
      const at::Tensor grad_x = at::empty_like(x), grad_weight = at::empty_like(weight);
      const at::Tensor grad_bias = bias.defined() ? at::empty_like(bias) : at::Tensor();
      linear(x, weight, bias, y);
      linear_backward_input(grad_y, weight, grad_x);
      linear_backward_weight(grad_y, x, grad_weight);
      linear_backward_bias(grad_y, grad_bias);

      torch::autograd::variable_list inputs = {tracked(x), tracked(weight)};
      at::Tensor exact = at::matmul(inputs[0], inputs[1].t());
      if (bias.defined()) exact = exact + inputs.emplace_back(tracked(bias));
      const auto expected = torch::autograd::grad({exact}, inputs, {grad_y.to(at::kDouble)});
      parity.expect_close(y, exact.detach(), tolerance(type));
      parity.expect_close(grad_x, expected[0], tolerance(type));
      parity.expect_close(grad_weight, expected[1], tolerance(type));
      if (bias.defined()) parity.expect_close(grad_bias, expected[2], tolerance(type));
    }
  }
}

TEST(Embedding, AgreesWithAutograd) {
  Parity parity("embedding");
  std::mt19937 random(6);
  at::manual_seed(6);
  Communicator tp(planner::Axis::kTp);
  for (int i = 0; i < kCases; ++i) {
    const std::int64_t vocabulary = 1 + static_cast<std::int64_t>(random() % 40);
    const std::int64_t tokens = 1 + static_cast<std::int64_t>(random() % 90);
    for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
      const at::Tensor weight = at::randn({vocabulary + 3, 17}, at::kDouble).to(type);
      const at::Tensor ids = at::randint(0, vocabulary, {tokens}, at::kLong);
      const at::Tensor grad = at::randn({tokens, 17}, at::kDouble).to(type);
      // What the tied head wrote before.
      const at::Tensor grad_weight = at::ones_like(weight);
      const at::Tensor x = forward_embedding(weight, {0, vocabulary}, ids, {tp});
      backward_embedding(grad, {0, vocabulary}, ids, {tp}, grad_weight);

      const at::Tensor exact = tracked(weight);
      const at::Tensor y = exact.index_select(0, ids);
      const auto expected = torch::autograd::grad({y}, {exact}, {grad.to(at::kDouble)});
      EXPECT_TRUE(at::equal(x.to(at::kDouble), y.detach()));
      parity.expect_close(grad_weight, expected[0] + 1,
                          type == at::kBFloat16 ? 4e-3 : tolerance(type));
    }
  }
}

TEST(Embedding, SumsRepeatedTokensInFloat32) {
  const at::Tensor grad_weight = at::zeros({2, 1}, at::kBFloat16);
  Communicator tp(planner::Axis::kTp);
  // In bfloat16 the sum would stay at 256.
  backward_embedding(at::ones({1000, 1}, at::kBFloat16), {0, 2}, at::ones({1000}, at::kLong), {tp},
                     grad_weight);
  EXPECT_EQ(grad_weight[1].item<float>(), 1000.0F);
}

void expect_frequencies(const planner::RopeSpec& spec, const std::vector<double>& expected) {
  const RopeTable table = make_rope_table(spec, 16, 2, at::kDouble, at::kCPU);
  EXPECT_TRUE(at::allclose(table.cos.square() + table.sin.square(), at::ones({2, 8}, at::kDouble)));
  const at::Tensor frequencies = at::asin(table.sin[1]);
  ASSERT_EQ(frequencies.numel(), static_cast<std::int64_t>(expected.size()));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(frequencies[static_cast<std::int64_t>(i)].item<double>(), expected[i],
                1e-6 * expected[i])
        << i;
  }
}

/// Values of transformers' ROPE_INIT_FUNCTIONS, head_dim 16.
TEST(RopeTable, HasHuggingFacesFrequencies) {
  planner::RopeSpec spec;
  spec.theta = 500000.0;
  expect_frequencies(spec, {1, 0.193922758, 0.0376060307, 0.00729266508, 0.00141421345,
                            0.000274248188, 5.31829573e-05, 1.03133852e-05});
  spec.scaling = planner::RopeScaling::kLinear;
  spec.factor = 8.0;
  expect_frequencies(spec, {0.125, 0.0242403448, 0.00470075384, 0.000911583134, 0.000176776681,
                            3.42810235e-05, 6.64786967e-06, 1.28917316e-06});
  spec.scaling = planner::RopeScaling::kLlama3;
  spec.original_max_position_embeddings = 8192;
  expect_frequencies(spec, {1, 0.193922758, 0.0376060307, 0.00729266508, 0.000524846022,
                            3.42810235e-05, 6.64786967e-06, 1.28917316e-06});
}

TEST(RopeTable, RefusesAnOddHead) {
  EXPECT_THROW(make_rope_table({}, 7, 4, at::kFloat, at::kCPU), common::Error);
}

}  // namespace
}  // namespace meshplan::executor
