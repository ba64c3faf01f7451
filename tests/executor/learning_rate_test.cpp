#include "executor/optim/learning_rate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/common/expect_error.h"

namespace meshplan::executor {
namespace {

using common::ErrorCode;

std::vector<double> rates(const LearningRateSchedule& schedule, std::int64_t steps) {
  std::vector<double> all;
  for (std::int64_t step = 0; step < steps; ++step)
    all.push_back(learning_rate(schedule, step, steps));
  return all;
}

void expect_near(const std::vector<double>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 1e-15) << i;
}

TEST(LearningRate, ConstantStaysAtThePeakBehindTheWarmUp) {
  expect_near(rates({.peak = 4, .warmup_steps = 3}, 6), {1, 2, 3, 4, 4, 4});
  expect_near(rates({.peak = 0.5}, 3), {0.5, 0.5, 0.5});
}

TEST(LearningRate, LinearWouldReachTheMinimumOnTheStepBehindTheRun) {
  expect_near(rates({.shape = LearningRateShape::kLinear, .peak = 4}, 4), {4, 3, 2, 1});
  expect_near(
      rates({.shape = LearningRateShape::kLinear, .peak = 5, .minimum = 1, .warmup_steps = 1}, 5),
      {2.5, 5, 4, 3, 2});
}

TEST(LearningRate, AShorterDecayStaysAtTheMinimum) {
  expect_near(
      rates({.shape = LearningRateShape::kLinear, .peak = 3, .minimum = 1, .decay_steps = 2}, 5),
      {3, 2, 1, 1, 1});
}

TEST(LearningRate, CosineIsHalfwayInTheMiddle) {
  const LearningRateSchedule schedule{
      .shape = LearningRateShape::kCosine, .peak = 3, .minimum = 1, .warmup_steps = 2};
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 2, 12), 3);
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 7, 12), 2);
  EXPECT_NEAR(learning_rate(schedule, 4, 12), 2 + std::cos(0.2 * M_PI), 1e-15);
}

TEST(LearningRate, WsdIsStableAndFallsAtTheEnd) {
  expect_near(rates({.shape = LearningRateShape::kWarmupStableDecay,
                     .peak = 4,
                     .warmup_steps = 1,
                     .decay_steps = 2},
                    6),
              {2, 4, 4, 4, 4, 2});
  // A tenth of the run unless said otherwise.
  const LearningRateSchedule tenth{.shape = LearningRateShape::kWarmupStableDecay, .peak = 1};
  EXPECT_DOUBLE_EQ(learning_rate(tenth, 90, 100), 1);
  EXPECT_DOUBLE_EQ(learning_rate(tenth, 95, 100), 0.5);
}

TEST(LearningRate, NeverLeavesItsBounds) {
  for (const auto shape : {LearningRateShape::kConstant, LearningRateShape::kLinear,
                           LearningRateShape::kCosine, LearningRateShape::kWarmupStableDecay}) {
    EXPECT_EQ(parse_learning_rate_shape(to_string(shape), "x"), shape);
    for (const std::int64_t steps : {1, 2, 7, 100}) {
      for (std::int64_t warmup = 0; warmup <= steps; warmup += 1 + steps / 3) {
        const LearningRateSchedule schedule{
            .shape = shape, .peak = 2, .minimum = 0.5, .warmup_steps = warmup};
        // Also beyond the run, where a resumed one may be.
        for (std::int64_t step = 0; step < 2 * steps; ++step) {
          const double rate = learning_rate(checked(schedule, steps), step, steps);
          EXPECT_GT(rate, 0) << to_string(shape) << " " << step << " of " << steps;
          EXPECT_LE(rate, 2);
          EXPECT_GE(rate, step >= warmup ? 0.5 : 0.0);
        }
      }
    }
  }
}

TEST(LearningRate, RefusesWhatCannotBeRun) {
  const auto refused = [](LearningRateSchedule schedule, const char* part) {
    schedule.shape = LearningRateShape::kWarmupStableDecay;
    tests::expect_error(
        ErrorCode::kInvalidInput, [&] { checked(schedule, 10); }, part);
  };
  refused({.peak = 1, .minimum = 2}, "--min-learning-rate");
  refused({.peak = 1, .warmup_steps = -1}, "--warmup-steps");
  refused({.peak = 1, .warmup_steps = 6, .decay_steps = 5}, "longer than the run's 10 steps");
  tests::expect_error(
      ErrorCode::kInvalidInput, [] { parse_learning_rate_shape("step", "--lr-schedule"); },
      "--lr-schedule", "wsd");
}

}  // namespace
}  // namespace meshplan::executor
