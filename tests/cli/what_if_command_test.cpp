#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <sstream>

#include "tests/cli/running.h"

namespace meshplan::tests {
namespace {

using testing::HasSubstr;

std::vector<std::string> what_if(std::vector<std::string> flags) {
  flags.insert(flags.begin(), {"what-if", "--model", "qwen2.5-0.5b", "--cluster", "h100-sxm"});
  return flags;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(WhatIfCommand, PrintsARowForEachPoint) {
  const Ended ended = meshplan(what_if({"--vary", "seq-length=1024:4096:x2"}));
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(lines_of(ended.out).size(), 2U + 3U);
  EXPECT_THAT(ended.out, HasSubstr("best layout"));
  EXPECT_THAT(ended.out, HasSubstr(" dp_shard="));
  EXPECT_EQ(ended.err, "");
}

TEST(WhatIfCommand, VariesTwoInputsInCsvAndJsonAlike) {
  const std::vector<std::string> flags = {"--seq-length", "2048",   "--vary",
                                          "nodes=1,2",    "--vary", "memory=0.01,1"};
  std::vector<std::string> csv = flags;
  csv.push_back("--csv");
  const std::vector<std::string> lines = lines_of(meshplan(what_if(csv)).out);
  ASSERT_EQ(lines.size(), 5U);
  EXPECT_THAT(lines[0], testing::StartsWith("nodes,memory,fit,rejected,tp,dp_shard,"));
  EXPECT_THAT(lines[1], testing::StartsWith("1,0.01,0,"));
  EXPECT_THAT(lines[1], HasSubstr("needs "));
  EXPECT_THAT(lines[4], testing::StartsWith("2,1,"));
  std::vector<std::string> json_flags = flags;
  json_flags.push_back("--json");
  const Ended ended = meshplan(what_if(json_flags));
  EXPECT_EQ(ended.exit_code, 0);
  const common::Json json = json_of(ended);
  EXPECT_EQ(json["schema_version"], 1);
  EXPECT_EQ(json["vary"]["nodes"], common::Json::parse("[1, 2]"));
  ASSERT_EQ(json["points"].size(), 4U);
  EXPECT_TRUE(json["points"][0]["layout"].is_null());
  EXPECT_GT(json["points"][0]["least_need_bytes"], 0);
  EXPECT_EQ(json["points"][3]["values"]["nodes"], 2);
  EXPECT_THAT(lines[4], HasSubstr(json["points"][3]["estimate"]["step_time_s"].dump()));
}

TEST(WhatIfCommand, EndsWith4WhereNothingFitsAnywhere) {
  const Ended ended = meshplan(what_if({"--seq-length", "2048", "--vary", "memory=0.01,0.02"}));
  EXPECT_EQ(ended.exit_code, 4);
  EXPECT_THAT(ended.out, HasSubstr("where nothing fits (memory):"));
  EXPECT_THAT(ended.out, HasSubstr("x0.01: the least, tp="));
}

TEST(WhatIfCommand, RefusesWrongUsage) {
  EXPECT_EQ(meshplan(what_if({"--seq-length", "64"})).exit_code, 2) << "nothing is varied";
  EXPECT_EQ(meshplan(what_if({"--vary", "nodes=1,2"})).exit_code, 2) << "no sequence length";
  EXPECT_EQ(meshplan(what_if({"--vary", "seq-length=64", "--csv", "--json"})).exit_code, 2);
  EXPECT_EQ(
      meshplan(what_if({"--vary", "seq-length=64", "--vary", "nodes=1", "--vary", "memory=1"}))
          .exit_code,
      2);
  const Ended bad = meshplan(what_if({"--vary", "colour=3"}));
  EXPECT_EQ(bad.exit_code, 3);
  EXPECT_THAT(bad.err, HasSubstr("'colour' cannot be varied; use seq-length"));
}

TEST(WhatIfCommand, EndsWith130WhenInterrupted) {
  Running running({MESHPLAN_PROGRAM, "what-if", "--model", "llama-3-8b", "--cluster", "h100-sxm",
                   "--nodes", "64", "--vary", "seq-length=1024:8000:8"},
                  {});
  ::usleep(300'000);
  ::kill(running.pid(), SIGINT);
  const Ended ended = running.wait();
  EXPECT_EQ(ended.exit_code, 130);
  EXPECT_THAT(ended.err, HasSubstr("interrupted after"));
  EXPECT_EQ(ended.out, "");
  EXPECT_LT(ended.seconds, 20);
}

}  // namespace
}  // namespace meshplan::tests
