#include "common/json.h"

#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <string>

#include "common/file.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::common {
namespace {

using tests::expect_error;

std::string nested(int levels) {
  const auto count = static_cast<std::size_t>(levels);
  return std::string(count, '[') + std::string(count, ']');
}

TEST(Json, KeepsTheOrderOfKeys) {
  EXPECT_EQ(parse_json(R"({"b":1,"a":{"d":2,"c":3}})", "x").dump(), R"({"b":1,"a":{"d":2,"c":3}})");
}

TEST(Json, RefusesAKeyThatComesTwice) {
  expect_error(
      ErrorCode::kInvalidInput, [] { parse_json(R"({"a":1,"a":2})", "file.json"); }, "file.json",
      "\"a\"", "twice");
}

TEST(Json, RefusesAKeyThatComesTwiceInsideAnArray) {
  expect_error(
      ErrorCode::kInvalidInput, [] { parse_json(R"([{"b":{"a":1},"b":2}])", "x"); }, "\"b\"");
}

TEST(Json, AllowsOneKeyInSeveralObjects) {
  EXPECT_EQ(parse_json(R"({"a":{"a":1},"b":[{"a":2},{"a":3}]})", "x")["b"][1]["a"], 3);
}

TEST(Json, RefusesDeepNestingWithoutRecursion) {
  EXPECT_NO_THROW(parse_json(nested(64), "x"));
  expect_error(
      ErrorCode::kInvalidInput, [] { parse_json(nested(100'000), "file.json"); }, "file.json",
      "deeper than 64 levels");
}

/// {"0":0,"1":1, ...}
std::string object_of(int keys) {
  std::string text = "{";
  for (int i = 0; i < keys; ++i) {
    text += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":" + std::to_string(i);
  }
  return text + "}";
}

TEST(Json, RefusesAnObjectOfTooManyKeys) {
  expect_error(
      ErrorCode::kInvalidInput, [] { parse_json(object_of(1'000'000), "file.json"); }, "file.json",
      "more than 100000 keys");
}

TEST(Json, ReadsLargeObjectsInLinearTime) {
  const std::string text = object_of(100'000);
  const auto begin = std::chrono::steady_clock::now();
  const Json json = parse_json("[" + text + "," + text + "," + text + "]", "x");
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  ASSERT_EQ(json.size(), 3u);
  EXPECT_EQ(json[2].size(), 100'000u);
  EXPECT_EQ(json[2].begin().key(), "0");
  EXPECT_EQ(json[2].back(), 99'999);
  // Looking for each key among the earlier ones takes minutes.
  EXPECT_LT(taken.count(), 20.0);
}

TEST(Json, ReadsEveryKindOfValueInItsPlace) {
  const char* text =
      R"([null,true,-1,18446744073709551615,2.5,"s\u00e9",[],{},{"a":[{"b":[1,2]},3],"c":{"d":4}}])";
  EXPECT_EQ(parse_json(text, "x"), Json::parse(text));
  EXPECT_EQ(parse_json(" 7 ", "x"), 7);
}

TEST(Json, RefusesNumbersBeyondDouble) {
  expect_error(
      ErrorCode::kInvalidInput, [] { parse_json("[1e999]", "file.json"); }, "file.json", "1e999");
}

TEST(Json, RefusesWhatIsNoJson) {
  for (const char* text : {"", "{", "{\"a\":}", "{\"a\":1,}", "nan", "{} {}", "\"\xff\""}) {
    expect_error(
        ErrorCode::kInvalidInput, [text] { parse_json(text, "file.json"); }, "file.json");
  }
}

TEST(Json, FilesAreReadWithTheirNameInMessages) {
  const tests::TemporaryFolder folder;
  write_file(folder / "good.json", "{\"a\": 1}");
  EXPECT_EQ(read_json_file(folder / "good.json")["a"], 1);
  write_file(folder / "bad.json", "{\"a\" 1}");
  expect_error(
      ErrorCode::kInvalidInput, [&] { read_json_file(folder / "bad.json"); }, "bad.json");
  expect_error(
      ErrorCode::kIo, [&] { read_json_file(folder / "none.json"); }, "none.json");
}

class JsonObjectTest : public testing::Test {
 protected:
  const Json json_ = parse_json(
      R"({"text":"t","flag":true,"integer":7,"negative":-7,"number":2.5,"null":null,
          "large":18446744073709551615,"object":{"inner":1},"objects":[{"i":0},{"i":1}],
          "mixed":[{"i":0},5]})",
      "x");
  const JsonObject object_{json_, "config.json"};
};

TEST_F(JsonObjectTest, ReadsEachType) {
  EXPECT_EQ(object_.text("text"), "t");
  EXPECT_TRUE(object_.flag("flag"));
  EXPECT_EQ(object_.integer("integer"), 7);
  EXPECT_EQ(object_.integer("negative", -10), -7);
  EXPECT_EQ(object_.number("number"), 2.5);
  EXPECT_EQ(object_.number("integer"), 7.0);
  EXPECT_EQ(object_.object("object").integer("inner"), 1);
  ASSERT_EQ(object_.objects("objects").size(), 2u);
  EXPECT_EQ(object_.objects("objects")[1].integer("i"), 1);
}

TEST_F(JsonObjectTest, NamesAMissingKey) {
  expect_error(
      ErrorCode::kInvalidInput, [&] { object_.integer("layers"); }, "config.json.layers",
      "is missing", "an integer of at least 0");
  expect_error(
      ErrorCode::kInvalidInput, [&] { object_.at("layers"); }, "config.json.layers", "is missing");
}

TEST_F(JsonObjectTest, NamesAKeyOfAnotherType) {
  const auto refuses = [](const auto& action, const char* where) {
    expect_error(ErrorCode::kInvalidInput, action, where, "must be");
  };
  refuses([&] { object_.text("integer"); }, "config.json.integer");
  refuses([&] { object_.flag("integer"); }, "config.json.integer");
  refuses([&] { object_.integer("text"); }, "config.json.text");
  refuses([&] { object_.integer("number"); }, "config.json.number");
  refuses([&] { object_.number("text"); }, "config.json.text");
  refuses([&] { object_.object("text"); }, "config.json.text");
  refuses([&] { object_.objects("object"); }, "config.json.object");
  refuses([&] { object_.objects("mixed"); }, "config.json.mixed[1]");
  refuses([&] { object_.text("null"); }, "config.json.null");
}

TEST_F(JsonObjectTest, RefusesNumbersOutOfRange) {
  expect_error(
      ErrorCode::kInvalidInput, [&] { object_.integer("negative"); }, "config.json.negative",
      "at least 0", "-7");
  expect_error(
      ErrorCode::kInvalidInput, [&] { object_.integer("integer", 0, 6); }, "from 0 to 6", "7");
  expect_error(
      ErrorCode::kInvalidInput, [&] { object_.integer("large"); }, "config.json.large");
  expect_error(
      ErrorCode::kInvalidInput, [&] { object_.number("number", 3.0); }, "at least 3");
  expect_error(
      ErrorCode::kInvalidInput, [&] { object_.number("number", 0, 2); }, "number");
}

TEST_F(JsonObjectTest, RefusesInfinity) {
  const Json json = {{"number", std::numeric_limits<double>::infinity()}};
  expect_error(
      ErrorCode::kInvalidInput, [&] { JsonObject(json, "x").number("number"); }, "finite");
}

TEST_F(JsonObjectTest, FallsBackWhereAKeyIsAbsentOrNull) {
  EXPECT_EQ(object_.text_or("none", "fallback"), "fallback");
  EXPECT_EQ(object_.text_or("null", "fallback"), "fallback");
  EXPECT_EQ(object_.text_or("text", "fallback"), "t");
  EXPECT_TRUE(object_.flag_or("none", true));
  EXPECT_EQ(object_.integer_or("null", 3), 3);
  EXPECT_EQ(object_.integer_or("integer", 3), 7);
  EXPECT_EQ(object_.number_or("none", 1.5), 1.5);
}

TEST_F(JsonObjectTest, AFallbackDoesNotHideAWrongType) {
  expect_error(
      ErrorCode::kInvalidInput, [&] { object_.integer_or("text", 3); }, "config.json.text");
}

TEST(JsonObject, RefusesKeysThatNobodyAskedFor) {
  const Json json = {{"known", 1}, {"optional", 2}, {"unknwon", 3}};
  const JsonObject object(json, "plan.json");
  EXPECT_EQ(object.integer("known"), 1);
  EXPECT_EQ(object.integer_or("optional", 0), 2);
  EXPECT_EQ(object.integer_or("absent", 0), 0);
  expect_error(
      ErrorCode::kInvalidInput, [&] { object.reject_unknown_keys(); }, "plan.json.unknwon",
      "absent, known, optional");
  EXPECT_TRUE(object.has("unknwon"));
  EXPECT_NO_THROW(object.reject_unknown_keys());
}

TEST(JsonObject, RefusesAValueThatIsNoObject) {
  const Json json = parse_json("[1]", "x");
  expect_error(
      ErrorCode::kInvalidInput, [&] { JsonObject(json, "plan.json"); }, "plan.json",
      "must be a JSON object, is [1]");
}

}  // namespace
}  // namespace meshplan::common
