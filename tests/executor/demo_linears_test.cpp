#include "executor/layers/demo_linears.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <random>

#include "tests/executor/layers_reference.h"
#include "tests/executor/parity.h"

// Explicit backward passes against torch's autograd in float64 on the same values.

namespace meshplan::executor {
namespace {

constexpr int kCases = 24;
constexpr double kScale = 0.25;

/// Relative to the largest magnitude of each tensor.
double tolerance(at::ScalarType type) {
  return type == at::kDouble ? 1e-12 : type == at::kFloat ? 1e-5 : 6e-2;
}

struct Weights {
  at::Tensor w1;  // [f, h]
  at::Tensor w3;  // [f, h]
  at::Tensor w2;  // [h, f]
};

Weights random_weights(std::int64_t hidden, std::int64_t intermediate, at::ScalarType type) {
  const auto random = [type](std::int64_t rows, std::int64_t columns) {
    return (at::randn({rows, columns}, at::kDouble) / std::sqrt(static_cast<double>(columns)))
        .to(type);
  };
  return {random(intermediate, hidden), random(intermediate, hidden), random(hidden, intermediate)};
}

void expect_agrees(const Weights& weights, const at::Tensor& x, Parity& parity) {
  const at::ScalarType type = x.scalar_type();
  const auto unwritten = [](const at::Tensor& like) { return at::full_like(like, NAN); };
  const Weights gradients{unwritten(weights.w1), unwritten(weights.w3), unwritten(weights.w2)};
  Communicator alone(planner::Axis::kTp);
  const at::Tensor gate_up = project_gate(x, weights.w1);
  project_up(x, weights.w3, gate_up);
  const double forward_only = sum_outputs(gate_up, weights.w2, {}, {alone});
  const double sum =
      sum_outputs(gate_up, weights.w2, {.w2 = gradients.w2, .scale = kScale}, {alone});
  EXPECT_EQ(sum, forward_only);
  backward_up(x, gate_up, gradients.w3);
  backward_gate(x, gate_up, gradients.w1);

  const Weights exact{tracked(weights.w1), tracked(weights.w3), tracked(weights.w2)};
  const at::Tensor rows = x.to(at::kDouble);
  const at::Tensor output =
      (at::silu(rows.mm(exact.w1.t())) * rows.mm(exact.w3.t())).mm(exact.w2.t());
  const auto expected =
      torch::autograd::grad({output.sum() * kScale}, {exact.w1, exact.w3, exact.w2});
  // The sum cancels: what it is relative to is the sum of magnitudes.
  EXPECT_NEAR(sum, output.sum().item<double>(),
              tolerance(type) * output.abs().sum().item<double>());
  parity.expect_close(gradients.w1, expected[0], tolerance(type), "w1");
  parity.expect_close(gradients.w3, expected[1], tolerance(type), "w3");
  parity.expect_close(gradients.w2, expected[2], tolerance(type), "w2");
}

TEST(DemoLinears, BackwardIsAutograds) {
  std::mt19937 random(5);
  Parity parity("demo linears");
  for (int i = 0; i < kCases; ++i) {
    const auto size = [&random] {
      return std::uniform_int_distribution<std::int64_t>(1, 70)(random);
    };
    const std::int64_t hidden = size(), intermediate = size(), rows = size();
    for (at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
      expect_agrees(random_weights(hidden, intermediate, type),
                    at::randn({rows, hidden}, at::kDouble).to(type), parity);
    }
  }
}

}  // namespace
}  // namespace meshplan::executor
