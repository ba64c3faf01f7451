#include "formats/error_record.h"

#include <gtest/gtest.h>

#include "common/json.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::formats {
namespace {

const ErrorRecord kLost{0, "rank_lost", 8, "rank 2 of 4 failed"};
const ErrorRecord kFailed{2, "invalid_input", 3, "token 999\n\"quoted\""};

TEST(ErrorRecord, FirstCauseIsTheRankThatFailedByItself) {
  const tests::TemporaryFolder run;
  EXPECT_FALSE(first_cause(run.path()));
  write_error_record(run.path(), kLost);
  EXPECT_EQ(first_cause(run.path()), kLost);
  write_error_record(run.path(), {1, "rank_lost", 8, "later"});
  EXPECT_EQ(first_cause(run.path()), kLost);
  write_error_record(run.path(), kFailed);
  EXPECT_EQ(first_cause(run.path()), kFailed);
  EXPECT_TRUE(std::filesystem::exists(run / "errors/rank-00002.json"));
  clear_error_records(run.path());
  EXPECT_FALSE(first_cause(run.path()));
}

TEST(ErrorRecord, UnreadableRecordsArePassedOver) {
  const tests::TemporaryFolder run;
  write_error_record(run.path(), kLost);
  tests::write_quickly(run / "errors/rank-00001.json", "{\"rank\": 1, \"code\": ");
  tests::write_quickly(run / "errors/rank-00003.json", "[]");
  tests::write_quickly(run / "errors/rank-00004.json.tmp-12", "{}");
  EXPECT_EQ(first_cause(run.path()), kLost);
}

TEST(ErrorRecord, HoldsAMessageThatIsNoText) {
  const tests::TemporaryFolder run;
  write_error_record(run.path(), {0, "io", 5, "caf\xe9: cannot open"});
  EXPECT_EQ(first_cause(run.path())->message, "caf\xEF\xBF\xBD: cannot open");
}

TEST(ErrorRecord, IsUnderstoodByTorchrun) {
  const tests::TemporaryFolder run;
  write_torchrun_error_file(run / "error.json", "rank 1 of 4 died");
  const common::Json json = common::read_json_file(run / "error.json");
  EXPECT_EQ(json["message"]["message"], "rank 1 of 4 died");
  EXPECT_FALSE(json["message"]["extraInfo"]["timestamp"].get<std::string>().empty());
}

TEST(ErrorRecord, SaysWhereItCannotBeWritten) {
  tests::expect_error(
      common::ErrorCode::kIo, [] { write_error_record("/proc/none", kLost); }, "/proc/none");
}

}  // namespace
}  // namespace meshplan::formats
