#include "common/text.h"

#include <gtest/gtest.h>

namespace meshplan::common {
namespace {

TEST(Human, SizesArePowersOf1024WithThreeDigits) {
  EXPECT_EQ(human(Bytes(0)), "0 B");
  EXPECT_EQ(human(Bytes(512)), "512 B");
  EXPECT_EQ(human(Bytes(1536)), "1.50 KiB");
  EXPECT_EQ(human(Bytes(12 << 20)), "12.0 MiB");
  EXPECT_EQ(human(kGiB * 141), "141 GiB");
  EXPECT_EQ(human(-kGiB), "-1.00 GiB");
}

TEST(Human, TimesTakeTheUnitThatKeepsThreeDigits) {
  EXPECT_EQ(human(Seconds(0)), "0 s");
  EXPECT_EQ(human(Seconds(1.234)), "1.23 s");
  EXPECT_EQ(human(Seconds(0.0456)), "45.6 ms");
  EXPECT_EQ(human(Seconds(7.89e-6)), "7.89 us");
}

TEST(Human, CountsArePowersOf1000) {
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(1.23e6), "1.23 M");
  EXPECT_EQ(human_count(8.03e9), "8.03 B");
}

TEST(Table, AlignsNumbersRightAndTextLeft) {
  EXPECT_EQ(format_table({{"layout", "time"}, {"tp=2", "9.5 ms"}, {"tp=16", "10 ms"}}),
            "layout    time\n"
            "------  ------\n"
            "tp=2    9.5 ms\n"
            "tp=16    10 ms\n");
}

TEST(Table, CountsCharactersAndNotBytes) {
  EXPECT_EQ(format_table({{"a", "b"}, {"µs", "x"}}),
            "a   b\n"
            "--  -\n"
            "µs  x\n");
}

TEST(Table, TakesRowsOfDifferentLengths) {
  EXPECT_EQ(format_table({{"a"}, {"x", "y"}}),
            "a\n"
            "-  -\n"
            "x  y\n");
  EXPECT_EQ(format_table({}), "");
}

TEST(Text, OneLineIsPrintableUtf8) {
  for (const char* line : {"", "a name", "\"quoted\" $(text) `x` \\", "Zürich", "\u4e2d\u6587",
                           "\U0001F600", "\u00a0"}) {
    EXPECT_TRUE(is_one_line(line)) << line;
  }
  const std::vector<std::string> others = {
      "two\nlines", "\r",       "\t",           std::string("\0", 1),
      "\x1b[31m",   "\x7f",     "\u0085",       "\u2028",
      "\u2029",     "\ufeff",   "\uffff",       "\xc3",
      "\xff",       "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
      "\xe2\x82",   "a\x80"};
  for (const std::string& text : others) EXPECT_FALSE(is_one_line(text)) << text;
}

}  // namespace
}  // namespace meshplan::common
