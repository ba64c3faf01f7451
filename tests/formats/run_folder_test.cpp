#include "formats/run_folder.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "common/file.h"
#include "common/json.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::formats {
namespace {

using common::ErrorCode;
using common::Json;

RankSummary summary_of(std::int64_t rank) {
  return {.rank = rank,
          .steps = 30,
          .peak_allocated = common::Bytes(123'456'789 + rank),
          .peak_communication = common::Bytes(4096),
          .median_step_time = common::Seconds(0.1 + 0.001 * static_cast<double>(rank))};
}

TEST(RunFolder, HasItsFilesWhereReadersLookForThem) {
  const std::filesystem::path run = "storage/experiment";
  EXPECT_EQ(plan_path(run), "storage/experiment/plan.json");
  EXPECT_EQ(metrics_path(run), "storage/experiment/metrics.jsonl");
  EXPECT_EQ(collectives_path(run, 3), "storage/experiment/collectives/rank-00003.jsonl");
  EXPECT_EQ(trace_path(run, 0), "storage/experiment/traces/rank-00000.json");
  EXPECT_EQ(summary_path(run, 16383), "storage/experiment/ranks/rank-16383.json");
}

TEST(RunFolder, GivesEveryRankFilesOfItsOwnInTheOrderOfRanks) {
  std::set<std::filesystem::path> paths;
  std::string last;
  for (std::int64_t rank : {0, 1, 9, 10, 99, 100, 99'999}) {
    for (const auto& path :
         {collectives_path("r", rank), trace_path("r", rank), summary_path("r", rank)}) {
      EXPECT_TRUE(paths.insert(path).second) << path;
    }
    EXPECT_LT(last, summary_path("r", rank).string());
    last = summary_path("r", rank).string();
  }
}

TEST(RunFolder, SummariesAreReadBackIdentically) {
  const tests::TemporaryFolder folder;
  std::mt19937_64 random(1);
  std::vector<RankSummary> written;
  for (std::int64_t rank = 0; rank < 10; ++rank) {
    const auto any_bytes = [&] { return common::Bytes(static_cast<std::int64_t>(random() >> 2)); };
    written.push_back({.rank = rank,
                       .steps = static_cast<std::int64_t>(random() % 1'000'000),
                       .peak_allocated = any_bytes(),
                       .peak_communication = any_bytes(),
                       .median_step_time = common::Seconds(1e-9 * static_cast<double>(random()))});
    write_summary(folder.path(), written.back());
  }
  EXPECT_EQ(read_summaries(folder.path(), 10), written);
}

TEST(RunFolder, ClearsMeasurementsAndKeepsTheRest) {
  const tests::TemporaryFolder folder;
  const std::filesystem::path run = folder.path();
  write_summary(run, summary_of(0));
  tests::write_quickly(run / "kept.txt", "kept");
  tests::write_quickly(plan_path(run), "{}");
  tests::write_quickly(metrics_path(run), "{}");
  for (const auto& path : {collectives_path(run, 0), trace_path(run, 1)}) {
    std::filesystem::create_directories(path.parent_path());
    tests::write_quickly(path, "{}");
  }
  clear_measurements(run);
  clear_measurements(run / "none");
  std::set<std::string> left;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(run)) {
    left.insert(entry.path().filename().string());
  }
  EXPECT_EQ(left, (std::set<std::string>{"kept.txt", "plan.json"}));
}

TEST(RunFolder, ALaterSummaryReplacesTheOneBefore) {
  const tests::TemporaryFolder folder;
  write_summary(folder.path(), summary_of(0));
  RankSummary later = summary_of(0);
  later.steps = 60;
  write_summary(folder.path(), later);
  EXPECT_EQ(read_summaries(folder.path(), 1), std::vector<RankSummary>{later});
}

TEST(RunFolder, NamesTheRankWhoseSummaryIsMissing) {
  const tests::TemporaryFolder folder;
  write_summary(folder.path(), summary_of(0));
  write_summary(folder.path(), summary_of(2));
  tests::expect_error(
      ErrorCode::kIo, [&] { read_summaries(folder.path(), 3); }, "rank-00001.json");
}

TEST(RunFolder, RefusesSummariesThatAreWrong) {
  const tests::TemporaryFolder folder;
  write_summary(folder.path(), summary_of(0));
  const std::filesystem::path path = summary_path(folder.path(), 0);
  const Json good = common::read_json_file(path);
  const auto expect_refused = [&](const Json& bad, const char* part) {
    common::write_file(path, bad.dump());
    tests::expect_error(
        ErrorCode::kInvalidInput, [&] { read_summaries(folder.path(), 1); }, "rank-00000.json",
        part);
  };
  for (const auto& [key, value] : good.items()) {
    Json bad = good;
    bad.erase(key);
    expect_refused(bad, "is missing");
    bad = good;
    bad[key] = "much";
    expect_refused(bad, key.c_str());
    bad[key] = -1;
    expect_refused(bad, key.c_str());
  }
  Json other = good;
  other["schema_version"] = 2;
  expect_refused(other, "schema_version");
  Json foreign = good;
  foreign["rank"] = 7;
  expect_refused(foreign, "is of rank 7");
  Json unknown = good;
  unknown["speed"] = 1;
  expect_refused(unknown, "unknown key");
  common::write_file(path, "{\"rank\": 0");
  tests::expect_error(
      ErrorCode::kInvalidInput, [&] { read_summaries(folder.path(), 1); }, "rank-00000.json",
      "not valid JSON");
}

}  // namespace
}  // namespace meshplan::formats
