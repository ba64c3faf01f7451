#include "executor/optim/loss_scale.h"

#include <gtest/gtest.h>

#include "common/error.h"

namespace meshplan::executor {
namespace {

TEST(LossScale, HalvesAndCountsAStepThatIsNotFinite) {
  const LossScale next = next_scale({.scale = 1024, .good_steps = 7, .skipped = 2}, false);
  EXPECT_EQ(next, (LossScale{.scale = 512, .good_steps = 0, .skipped = 3}));
}

TEST(LossScale, DoublesAfterTwoThousandUpdatesInARow) {
  LossScale scale;
  for (int step = 0; step < 1999; ++step) scale = next_scale(scale, true);
  EXPECT_EQ(scale.scale, LossScale{}.scale);
  EXPECT_EQ(next_scale(scale, true), (LossScale{.scale = 2 * LossScale{}.scale}));
}

TEST(LossScale, StaysBelowItsLargest) {
  EXPECT_EQ(next_scale({.scale = 0x1p24, .good_steps = 1999}, true).scale, 0x1p24);
}

TEST(LossScale, GivesUpWhereTheSmallestDoesNotDo) {
  try {
    next_scale({.scale = 1}, false);
    FAIL() << "the scale fell below 1";
  } catch (const common::Error& error) {
    EXPECT_EQ(error.code(), common::ErrorCode::kDiverged);
  }
}

}  // namespace
}  // namespace meshplan::executor
