#include "executor/kernels/cross_entropy.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "executor/kernels/composed.h"
#include "executor/kernels/vector_loops.h"
#include "executor/memory/counting_allocator.h"
#include "tests/executor/parity.h"

namespace meshplan::executor {
namespace {

/// What the three passes give for one rank.
struct Result {
  at::Tensor max;
  at::Tensor sums;
  at::Tensor losses;
  at::Tensor gradient;
};

struct Case {
  at::Tensor logits;  // [C, V] in statistics type
  at::Tensor labels;  // [C]
  VocabularySlice slice;
  at::ScalarType type;
};

constexpr double kScale = 0.37;

Result empty_result(const Case& c) {
  const std::int64_t rows = c.logits.size(0);
  return {at::empty({rows}, c.logits.options()), at::empty({2, rows}, c.logits.options()),
          at::empty({rows}, c.logits.options()),
          at::empty(c.logits.sizes(), c.logits.options().dtype(c.type))};
}

/// As the head does with a group of one.
Result fused(const Case& c) {
  Result result = empty_result(c);
  const at::Tensor exps = c.logits.clone();
  cross_entropy_max(exps, c.slice, result.max);
  cross_entropy_exp(exps, c.slice, result.max, c.labels, result.sums);
  cross_entropy_gradient(exps, c.slice, result.sums, c.labels, kScale, result.losses,
                         result.gradient);
  return result;
}

Result composed_result(const Case& c) {
  Result result = empty_result(c);
  const at::Tensor exps = c.logits.clone();
  composed::cross_entropy_max(exps, c.slice, result.max);
  composed::cross_entropy_exp(exps, c.slice, result.max, c.labels, result.sums);
  composed::cross_entropy_gradient(exps, c.slice, result.sums, c.labels, kScale, result.losses,
                                   result.gradient);
  return result;
}

/// Rows of random length and padding; labels of this rank, of others and ignored ones.
Case random_case(std::mt19937& random, at::ScalarType type) {
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  const std::int64_t rows = pick(1, 20);
  const std::int64_t columns = pick(1, 2500);
  const VocabularySlice slice{pick(0, 50), columns - std::min(pick(0, 3), columns - 1)};
  const at::ScalarType statistics = statistics_type(type);
  const at::Tensor logits = at::randn({rows, columns}, at::kDouble).mul_(4).to(type).to(statistics);
  at::Tensor labels = at::randint(0, slice.start + columns + 20, {rows}, at::kLong);
  labels.masked_fill_(at::rand({rows}).lt(0.2), kIgnoredLabel);
  return {logits, labels, slice, type};
}

TEST(CrossEntropy, FusedAgreesWithComposed) {
  Parity parity("cross_entropy");
  std::mt19937 random(5);
  at::manual_seed(5);
  for (int i = 0; i < 20; ++i) {
    for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
      const Case c = random_case(random, type);
      const double tolerance = type == at::kDouble ? 1e-13 : type == at::kFloat ? 1e-5 : 8e-3;
      const Result ours = fused(c);
      const Result other = composed_result(c);
      EXPECT_TRUE(at::equal(ours.max, other.max));
      parity.expect_close(ours.sums, other.sums, std::min(tolerance, 1e-5), "sums");
      parity.expect_close(ours.losses, other.losses, std::min(tolerance, 1e-5), "losses");
      parity.expect_close(ours.gradient, other.gradient, tolerance, "gradient");
    }
  }
}

TEST(CrossEntropy, PaddedColumnsNeitherCountNorLearn) {
  Case c{at::randn({3, 8}), at::tensor({0, 4, 2}, at::kLong), {0, 5}, at::kFloat};
  const Result few = fused(c);
  c.logits.narrow(1, 5, 3).fill_(1e20);
  const Result same = fused(c);
  EXPECT_TRUE(at::equal(few.losses, same.losses));
  EXPECT_TRUE(at::equal(few.gradient, same.gradient));
  EXPECT_EQ(same.gradient.narrow(1, 5, 3).abs().max().item<float>(), 0.0F);
}

TEST(CrossEntropy, IgnoredRowsHaveNeitherLossNorGradient) {
  const Case c{at::randn({2, 8}),
               at::tensor({kIgnoredLabel, std::int64_t{3}}, at::kLong),
               {0, 8},
               at::kFloat};
  const Result result = fused(c);
  EXPECT_EQ(result.losses[0].item<float>(), 0.0F);
  EXPECT_EQ(result.gradient[0].abs().max().item<float>(), 0.0F);
  EXPECT_GT(result.losses[1].item<float>(), 0.0F);
}

TEST(CrossEntropy, ARankOfPaddingAloneAddsNothing) {
  const Case c{at::randn({2, 4}), at::tensor({1, 2}, at::kLong), {100, 0}, at::kFloat};
  const Result empty = empty_result(c);
  cross_entropy_max(c.logits, c.slice, empty.max);
  EXPECT_TRUE(at::isneginf(empty.max).all().item<bool>());
  const at::Tensor max_of_others = at::ones({2});
  cross_entropy_exp(c.logits, c.slice, max_of_others, c.labels, empty.sums);
  EXPECT_EQ(empty.sums.abs().max().item<float>(), 0.0F);
  cross_entropy_gradient(c.logits, c.slice, at::ones({2, 2}), c.labels, kScale, empty.losses,
                         c.logits);
  EXPECT_EQ(c.logits.abs().max().item<float>(), 0.0F);
}

TEST(CrossEntropy, LargeLogitsStayFinite) {
  const Case c{
      at::tensor({1e4F, -1e4F, 0.0F}).view({1, 3}), at::tensor({1}, at::kLong), {0, 3}, at::kFloat};
  const Result result = fused(c);
  EXPECT_FLOAT_EQ(result.losses[0].item<float>(), 2e4F);
  EXPECT_TRUE(at::isfinite(result.gradient).all().item<bool>());
}

TEST(CrossEntropy, AllocatesNothingOnCpu) {
  install_counting_allocator();
  std::mt19937 random(6);
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const Case c = random_case(random, type);
    const Result result = empty_result(c);
    record_allocations(true);
    cross_entropy_max(c.logits, c.slice, result.max);
    cross_entropy_exp(c.logits, c.slice, result.max, c.labels, result.sums);
    cross_entropy_gradient(c.logits, c.slice, result.sums, c.labels, kScale, result.losses,
                           result.gradient);
    record_allocations(false);
    EXPECT_TRUE(recorded_allocations().empty()) << type;
  }
}

}  // namespace
}  // namespace meshplan::executor
