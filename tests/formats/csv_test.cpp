#include "formats/csv.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::formats {
namespace {

using common::ErrorCode;
using tests::expect_error;

CsvTable parse(std::string_view text) { return CsvTable::parse(text, "runs.csv"); }

template <class... Parts>
void refused(std::string_view text, const Parts&... parts) {
  expect_error(
      ErrorCode::kInvalidInput, [&] { parse(text); }, parts...);
}

TEST(Csv, ReadsPlainAndQuotedFields) {
  const CsvTable table = parse("\xEF\xBB\xBFid,remarks\r\n1,\"a \"\"b\"\", c\nd\"\r\n\n2,\n");
  ASSERT_EQ(table.rows(), 2U);
  EXPECT_EQ(table.field(0, *table.column("id")), "1");
  EXPECT_EQ(table.field(0, 1), "a \"b\", c\nd");
  EXPECT_EQ(table.field(1, 1), "");
  EXPECT_EQ(table.where(1, 1), "runs.csv:5:2 (remarks)");
  EXPECT_FALSE(table.column("none").has_value());
}

RC_GTEST_PROP(Csv, ReadsBackWhatIsQuoted, (const std::vector<std::string>& fields)) {
  std::string text = "first";
  for (std::size_t i = 0; i < fields.size(); ++i) text += ",c" + std::to_string(i);
  text += "\nx";
  for (const std::string& field : fields) {
    text += ",\"";
    for (char c : field) text += c == '"' ? "\"\"" : std::string(1, c == '\0' ? ' ' : c);
    text += '"';
  }
  const CsvTable table = parse(text);
  RC_ASSERT(table.rows() == 1U);
  for (std::size_t i = 0; i < fields.size(); ++i) {
    std::string expected = fields[i];
    std::replace(expected.begin(), expected.end(), '\0', ' ');
    RC_ASSERT(table.field(0, i + 1) == expected);
  }
}

RC_GTEST_PROP(Csv, NeverCrashesOnAnyBytes, (const std::string& text)) {
  try {
    parse(text);
  } catch (const common::Error& error) {
    RC_ASSERT(error.code() == ErrorCode::kInvalidInput);
  }
}

TEST(Csv, RefusesAnEmptyFile) { refused("", "runs.csv: is empty"); }

TEST(Csv, RefusesAQuoteThatIsNeverClosed) {
  refused("a,b\n1,\"two\n", "runs.csv:3:2", "never closed, opened on line 2");
}

TEST(Csv, RefusesTextBehindAClosingQuote) { refused("a\n\"1\"2\n", "runs.csv:2:1", "behind"); }

TEST(Csv, RefusesRowsOfAnotherLength) {
  refused("a,b\n1,2\n3\n", "runs.csv:3:2", "has 1 fields, the header 2");
  refused("a,b\n1,2,3\n", "runs.csv:2:3", "has 3 fields, the header 2");
}

TEST(Csv, RefusesAColumnThatIsThereTwice) {
  refused("a,b,a\n", "runs.csv:1:3", "column 'a' is there twice");
}

TEST(Csv, RefusesANul) { refused(std::string_view("a\n1\0\n", 5), "runs.csv:2:1", "NUL"); }

TEST(Csv, RefusesACarriageReturnInsideALine) { refused("a\n1\r2\n", "runs.csv:2:1", "carriage"); }

TEST(Csv, RefusesFieldsAndHeadersBeyondTheLimits) {
  refused("a\n" + std::string(kMaxCsvField + 1, 'x'), "runs.csv:2", "more than 65536 characters");
  refused("a\n\"" + std::string(kMaxCsvField + 1, 'x'), "runs.csv:2", "more than 65536 characters");
  refused(std::string(kMaxCsvColumns, ','), "runs.csv:1:1025", "more than 1024 columns");
}

TEST(Csv, SaysWhichFileCannotBeRead) {
  const tests::TemporaryFolder folder;
  expect_error(
      ErrorCode::kIo, [&] { CsvTable::read(folder / "none.csv"); }, "none.csv");
}

}  // namespace
}  // namespace meshplan::formats
