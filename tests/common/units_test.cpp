#include "common/units.h"

#include <gtest/gtest.h>

#include <type_traits>

namespace meshplan::common {
namespace {

template <class A, class B>
concept Addable = requires(A a, B b) {
  a + b;
};

TEST(Units, OfOneKindAddCompareAndScale) {
  Bytes size(3);
  size += Bytes(4);
  EXPECT_EQ(size, Bytes(7));
  EXPECT_EQ(size - Bytes(9), Bytes(-2));
  EXPECT_EQ(2 * size, size * 2);
  EXPECT_EQ(size / 2, Bytes(3));
  EXPECT_LT(Seconds(1.0), Seconds(1.5));
}

TEST(Units, OfDifferentKindsDoNotMix) {
  EXPECT_FALSE((Addable<Bytes, Seconds>));
  EXPECT_FALSE((Addable<Seconds, Flops>));
  EXPECT_FALSE((std::is_convertible_v<std::int64_t, Bytes>));
}

TEST(Units, WorkOverRateIsTime) {
  EXPECT_EQ(kGB / BytesPerSecond(2e9), Seconds(0.5));
  EXPECT_EQ(Flops(3e12) / FlopsPerSecond(1e12), Seconds(3.0));
}

TEST(Units, GigaIsDecimalAndGibiIsBinary) {
  EXPECT_EQ(kGB.value, 1'000'000'000);
  EXPECT_EQ(kGiB.value, 1'073'741'824);
}

}  // namespace
}  // namespace meshplan::common
