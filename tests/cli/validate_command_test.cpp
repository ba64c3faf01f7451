#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/file.h"
#include "tests/cli/running.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::tests {
namespace {

using testing::HasSubstr;

constexpr const char* kMeasurements = MESHPLAN_SOURCE_DIR "/catalog/measurements/";

TEST(ValidateCommand, PrintsErrorsByRuntimeAndSource) {
  const Ended ended = meshplan({"validate", std::string(kMeasurements) + "training_runs.csv"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("518 rows"));
  EXPECT_THAT(ended.out, HasSubstr("composer_fsdp1"));
  EXPECT_THAT(ended.out, HasSubstr("points of Korthikanti et al.: 4 rows"));
  EXPECT_THAT(ended.out, HasSubstr("microbatch_size is not published"));
  EXPECT_EQ(ended.err, "");
}

TEST(ValidateCommand, JudgesTheChoiceOfLayoutWhereAsked) {
  const std::string file = std::string(kMeasurements) + "layout_sweep_h100.csv";
  EXPECT_THAT(meshplan({"validate", file, "--sweep"}).out, HasSubstr("median regret %"));
  const common::Json json = json_of(meshplan({"validate", file, "--json"}));
  EXPECT_EQ(json["schema_version"], 1);
  EXPECT_EQ(json["rows"].size(), 2471U);
  EXPECT_EQ(json["summary"]["layout_choice"]["summaries"].size(), 3U);
}

TEST(ValidateCommand, KnowsATableOfCollectivesByItsHeader) {
  const std::string file = std::string(kMeasurements) + "collectives.csv";
  const Ended ended = meshplan({"validate", file});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("152 rows"));
  EXPECT_THAT(ended.out, HasSubstr("up to 1 MiB"));
  const common::Json json = json_of(meshplan({"validate", file, "--json"}));
  EXPECT_EQ(json["rows"].size(), 152U);
  EXPECT_LE(json["summary"]["collectives"]["all_reduce"]["median"], 0.10);
}

TEST(ValidateCommand, SaysWhereAFileIsWrong) {
  const TemporaryFolder folder;
  const std::string file = folder / "runs.csv";
  write_quickly(file, "id,runtime\nx,y,z\n");
  const Ended ended = meshplan({"validate", file});
  EXPECT_EQ(ended.exit_code, 3);
  EXPECT_EQ(ended.out, "");
  EXPECT_THAT(ended.err, HasSubstr("runs.csv:2:3: has 3 fields, the header 2"));
}

TEST(ValidateCommand, SaysThatAFileIsMissing) {
  EXPECT_EQ(meshplan({"validate", "/nowhere/runs.csv"}).exit_code, 5);
}

}  // namespace
}  // namespace meshplan::tests
