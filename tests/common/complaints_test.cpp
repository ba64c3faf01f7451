#include "common/complaints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace meshplan::common {
namespace {

int refuse(ErrorCode code, const std::string& message, const std::string& where) {
  throw Error(code, message, where);
}

TEST(Complaints, GivesWhatIsReadAndADefaultForWhatIsNot) {
  Complaints complaints;
  EXPECT_EQ(complaints.of([] { return 7; }), 7);
  EXPECT_TRUE(complaints.empty());
  EXPECT_EQ(complaints.of([] { return refuse(ErrorCode::kInvalidInput, "bad", "a"); }), 0);
  EXPECT_FALSE(complaints.empty());
}

TEST(Complaints, ThrowsNothingWhereThereIsNone) {
  EXPECT_NO_THROW(Complaints().throw_if_any("file.json"));
}

TEST(Complaints, ThrowsASingleOneAsItCame) {
  Complaints complaints;
  complaints.add("file.json.size", "must be 1, is 2");
  try {
    complaints.throw_if_any("file.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidInput);
    EXPECT_EQ(error.where(), "file.json.size");
    EXPECT_EQ(error.message(), "must be 1, is 2");
  }
}

TEST(Complaints, ThrowsAllAtOnceInOrderAndEachOnce) {
  Complaints complaints;
  complaints.add("file.json.b", "second letter");
  complaints.add("file.json.a", "first letter");
  complaints.add("file.json.b", "second letter");
  try {
    complaints.throw_if_any("file.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidInput);
    EXPECT_STREQ(error.what(),
                 "file.json: 2 things are wrong\nfile.json.b: second letter\n"
                 "file.json.a: first letter");
  }
}

TEST(Complaints, PutsAnErrorOfAnotherCodeFirst) {
  Complaints complaints;
  complaints.add("a", "bad");
  complaints.of([] { return refuse(ErrorCode::kIo, "cannot be read", "b"); });
  try {
    complaints.throw_if_any("c");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
    EXPECT_STREQ(error.what(), "b: cannot be read");
  }
}

}  // namespace
}  // namespace meshplan::common
