#include "executor/layers/head_loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>
#include <random>

#include "tests/executor/layers_reference.h"
#include "tests/executor/parity.h"

namespace meshplan::executor {
namespace {

struct HeadCase {
  std::int64_t tokens = 1;
  std::int64_t hidden = 1;
  std::int64_t vocabulary = 1;
  std::int64_t padding = 0;
  std::int64_t chunks = 1;
};

struct HeadInputs {
  HeadWeights weights;
  at::Tensor x;
  at::Tensor labels;
};

HeadInputs random_inputs(const HeadCase& c, at::ScalarType type) {
  HeadInputs inputs;
  inputs.weights.norm = at::randn({c.hidden}, at::kDouble).mul_(0.2).add_(1).to(type);
  inputs.weights.output =
      at::randn({c.vocabulary + c.padding, c.hidden}, at::kDouble).mul_(0.3).to(type);
  inputs.x = at::randn({c.tokens, c.hidden}, at::kDouble).to(type);
  inputs.labels = at::randint(0, c.vocabulary, {c.tokens}, at::kLong);
  inputs.labels.masked_fill_(at::rand({c.tokens}).lt(0.25), kIgnoredLabel);
  return inputs;
}

HeadLossOptions options_for(const HeadCase& c, double scale, bool with_gradient = true) {
  return {kReferenceEps, {0, c.vocabulary}, c.chunks, scale, with_gradient};
}

HeadWeights gradients_for_head(const HeadWeights& weights) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  return {at::full_like(weights.norm, nan), at::full_like(weights.output, nan)};
}

void expect_head_agrees(const HeadCase& c, at::ScalarType type, double tolerance, Parity& parity) {
  const double scale = 1.0 / static_cast<double>(c.tokens);
  const HeadInputs inputs = random_inputs(c, type);
  const HeadWeights gradients = gradients_for_head(inputs.weights);
  Communicator tp(planner::Axis::kTp);
  const HeadLoss result =
      head_loss(inputs.weights, gradients, options_for(c, scale), inputs.x, inputs.labels, {tp});

  const HeadWeights exact = tracked(inputs.weights);
  const at::Tensor x = tracked(inputs.x);
  const at::Tensor loss = reference_loss(exact, c.vocabulary, x, inputs.labels);
  const auto expected = torch::autograd::grad({loss * scale}, {x, exact.norm, exact.output});
  parity.expect_close(at::scalar_tensor(result.loss_sum, at::kDouble), loss.detach(), tolerance,
                      "loss");
  parity.expect_close(result.grad, expected[0], tolerance, "grad_x");
  parity.expect_close(gradients.norm, expected[1], tolerance, "norm");
  parity.expect_close(gradients.output, expected[2], tolerance, "output");

  const HeadLoss only =
      head_loss(inputs.weights, {}, options_for(c, scale, false), inputs.x, inputs.labels, {tp});
  EXPECT_EQ(only.loss_sum, result.loss_sum);
  EXPECT_FALSE(only.grad.defined());
}

TEST(HeadLoss, AgreesWithAutograd) {
  Parity parity("head and loss");
  std::mt19937 random(8);
  at::manual_seed(8);
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  for (int i = 0; i < 30; ++i) {
    const HeadCase c{pick(1, 90), pick(2, 60), pick(2, 300), pick(0, 5), pick(1, 6)};
    expect_head_agrees(c, at::kDouble, 1e-9, parity);
    expect_head_agrees(c, at::kFloat, 1e-5, parity);
  }
}

TEST(HeadLoss, AgreesWithAutogradInBfloat16) {
  Parity parity("head and loss, bfloat16");
  at::manual_seed(9);
  for (const std::int64_t chunks : {1, 3, 8}) {
    expect_head_agrees({70, 48, 200, 3, chunks}, at::kBFloat16, 3e-2, parity);
  }
}

TEST(HeadLoss, ChunksDoNotChangeTheResult) {
  Parity parity("head and loss, chunks");
  at::manual_seed(10);
  HeadCase c{53, 24, 77, 2, 1};
  const HeadInputs inputs = random_inputs(c, at::kDouble);
  Communicator tp(planner::Axis::kTp);
  const HeadWeights whole = gradients_for_head(inputs.weights);
  const HeadLoss expected =
      head_loss(inputs.weights, whole, options_for(c, 1), inputs.x, inputs.labels, {tp});
  for (c.chunks = 2; c.chunks < 60; c.chunks += 3) {
    const HeadWeights chunked = gradients_for_head(inputs.weights);
    const HeadLoss result =
        head_loss(inputs.weights, chunked, options_for(c, 1), inputs.x, inputs.labels, {tp});
    EXPECT_NEAR(result.loss_sum, expected.loss_sum, 1e-10 * expected.loss_sum);
    parity.expect_close(result.grad, expected.grad, 1e-12);
    parity.expect_close(chunked.norm, whole.norm, 1e-12);
    parity.expect_close(chunked.output, whole.output, 1e-12);
  }
}

TEST(HeadLoss, AllLabelsIgnoredGiveZeros) {
  const HeadCase c{5, 4, 9, 0, 2};
  HeadInputs inputs = random_inputs(c, at::kFloat);
  inputs.labels.fill_(kIgnoredLabel);
  const HeadWeights gradients = gradients_for_head(inputs.weights);
  Communicator tp(planner::Axis::kTp);
  const HeadLoss result =
      head_loss(inputs.weights, gradients, options_for(c, 1), inputs.x, inputs.labels, {tp});
  EXPECT_EQ(result.loss_sum, 0.0);
  for (const at::Tensor& zero : {result.grad, gradients.norm, gradients.output}) {
    EXPECT_EQ(zero.abs().max().item<float>(), 0.0F);
  }
}

}  // namespace
}  // namespace meshplan::executor
