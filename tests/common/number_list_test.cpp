#include "common/number_list.h"

#include <gtest/gtest.h>

#include "tests/common/expect_error.h"

namespace meshplan::common {
namespace {

using Numbers = std::vector<std::int64_t>;

TEST(NumberList, HoldsNumbersAndRangesInOrderAndOnce) {
  EXPECT_EQ(parse_number_list("3,5-7", "steps"), (Numbers{3, 5, 6, 7}));
  EXPECT_EQ(parse_number_list("7,0,6-8", "steps"), (Numbers{0, 6, 7, 8}));
  EXPECT_EQ(parse_number_list("4-4", "steps"), Numbers{4});
}

TEST(NumberList, RefusesWhatIsNone) {
  for (const char* text : {"", ",", "1,", "-1", "3-", "5-3", "a", "1 2", "1-2-3", "0x3", "1.5",
                           "99999999999999999999"}) {
    tests::expect_error(
        ErrorCode::kInvalidInput, [text] { parse_number_list(text, "--trace-steps"); },
        "--trace-steps", text);
  }
}

TEST(NumberList, StaysSmallWhateverTheRange) {
  EXPECT_EQ(parse_number_list("1-10000", "steps").size(), 10'000u);
  tests::expect_error(
      ErrorCode::kInvalidInput, [] { parse_number_list("0-9223372036854775807", "steps"); },
      "10,000");
}

}  // namespace
}  // namespace meshplan::common
