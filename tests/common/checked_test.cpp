#include "common/checked.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/common/expect_error.h"

namespace meshplan::common {
namespace {

using tests::expect_error;

constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();

TEST(Checked, MultipliesUpToTheLargestInteger) {
  EXPECT_EQ(checked_multiply(3, -7, "x"), -21);
  EXPECT_EQ(checked_multiply(kLargest, 1, "x"), kLargest);
  EXPECT_EQ(checked_multiply(kLargest, 0, "x"), 0);
}

TEST(Checked, RefusesAProductBeyond63BitsAndNamesIt) {
  expect_error(
      ErrorCode::kInvalidInput, [] { checked_multiply(std::int64_t{1} << 40, 1 << 23, "shape"); },
      "shape", "1099511627776 x 8388608");
}

TEST(Checked, RefusesASumBeyond63BitsAndNamesIt) {
  EXPECT_EQ(checked_add(kLargest - 1, 1, "x"), kLargest);
  expect_error(
      ErrorCode::kInvalidInput, [] { checked_add(kLargest, 1, "offset"); }, "offset");
}

TEST(Checked, DividesAndRoundsUp) {
  EXPECT_EQ(ceil_divide(0, 4), 0);
  EXPECT_EQ(ceil_divide(8, 4), 2);
  EXPECT_EQ(ceil_divide(9, 4), 3);
  EXPECT_EQ(ceil_divide(kLargest, 2), kLargest / 2 + 1);
  EXPECT_EQ(round_up(0, 256), 0);
  EXPECT_EQ(round_up(1, 256), 256);
  EXPECT_EQ(round_up(512, 256), 512);
}

}  // namespace
}  // namespace meshplan::common
