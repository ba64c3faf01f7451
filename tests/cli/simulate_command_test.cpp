#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/file.h"
#include "formats/chrome_trace.h"
#include "tests/cli/running.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::tests {
namespace {

using testing::HasSubstr;
using testing::Not;

/// A plan of 2 x 2 ranks on one node.
class SimulateCommand : public testing::Test {
 protected:
  void SetUp() override {
    const Ended ended =
        meshplan({"plan", "--model", "demo-qwen2", "--cluster", "local-cpu", "--seq-length", "128",
                  "--dp-shard", "2", "--tp", "2", "-o", plan_});
    ASSERT_EQ(ended.exit_code, 0) << ended.err;
  }

  Ended simulate(const std::vector<std::string>& flags) const {
    std::vector<std::string> arguments = {"simulate", plan_};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    return meshplan(arguments);
  }

  TemporaryFolder folder_;
  std::string plan_ = folder_ / "plan.json";
};

TEST_F(SimulateCommand, SaysWhereTheTimeGoes) {
  const Ended ended = simulate({});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("step time"));
  EXPECT_THAT(ended.out, HasSubstr("on the critical path:"));
  EXPECT_THAT(ended.out, HasSubstr("% of the step is matrix multiply"));
  EXPECT_THAT(ended.out, HasSubstr("1 of the ranks, for all that are alike"));
  EXPECT_EQ(ended.err, "") << "no progress bar where stderr is no terminal";
}

TEST_F(SimulateCommand, ItsJsonHasAllOfIt) {
  const common::Json json = json_of(simulate({"--json"}));
  for (const char* key : {"step_time_s", "exposed_s", "peak_memory_bytes", "critical_path",
                          "events", "wall_s", "every_rank", "ranks"})
    EXPECT_TRUE(json.contains(key)) << key;
  double shares = 0;
  for (const auto& [kind, entry] : json["critical_path"]["by_kind"].items())
    shares += entry["share"].get<double>();
  EXPECT_NEAR(shares, 1, 1e-9);
  EXPECT_FALSE(json["every_rank"].get<bool>());
}

TEST_F(SimulateCommand, PlaysEveryRankWhereTheyDiffer) {
  const common::Json alike = json_of(simulate({"--json", "--every-rank"}));
  EXPECT_EQ(alike["ranks"], 4);
  EXPECT_EQ(alike["step_time_s"], json_of(simulate({"--json"}))["step_time_s"]);
  const common::Json slow =
      json_of(simulate({"--json", "--slow-rank", "2:1.5", "--slow-rank", "1:1.2"}));
  EXPECT_TRUE(slow["every_rank"].get<bool>());
  EXPECT_EQ(slow["slowest_rank"]["rank"], 2);
  EXPECT_GT(slow["step_time_s"], alike["step_time_s"]);
  const auto spread = [&](const char* seed) {
    common::Json json =
        json_of(simulate({"--json", "--speed-spread", "0.03", "--jitter", "0.01", "--seed", seed}));
    json.erase("wall_s");
    return json;
  };
  EXPECT_EQ(spread("7"), spread("7"));
  EXPECT_NE(spread("7"), spread("8"));
}

TEST_F(SimulateCommand, TellsWhatABetterNetworkWouldBuy) {
  const double step = json_of(simulate({"--json"}))["step_time_s"];
  EXPECT_LT(json_of(simulate({"--json", "--zero-latency"}))["step_time_s"], step);
  EXPECT_LT(json_of(simulate({"--json", "--infinite-bandwidth"}))["step_time_s"], step);
  EXPECT_GE(json_of(simulate({"--json", "--no-overlap"}))["step_time_s"], step);
}

TEST_F(SimulateCommand, TellsWhatSharedLinksCost) {
  const common::Json alone = json_of(simulate({"--json"}));
  const common::Json shared = json_of(simulate({"--json", "--shared-links"}));
  EXPECT_EQ(alone["shared_links_s"], 0);
  EXPECT_EQ(alone["shared_links_step_time_s"], shared["step_time_s"]);
  EXPECT_GE(shared["step_time_s"], alone["step_time_s"]);
}

TEST_F(SimulateCommand, TellsWhatGatheringFurtherAheadWouldBuy) {
  const common::Json planned = json_of(simulate({"--json"}));
  const common::Json one = json_of(simulate({"--json", "--prefetch-depth", "1"}));
  EXPECT_EQ(one["step_time_s"], planned["step_time_s"]);
  EXPECT_EQ(one["peak_memory_bytes"], planned["peak_memory_bytes"]);
  const common::Json none = json_of(simulate({"--json", "--prefetch-depth", "0"}));
  // On CPUs a collective takes all of its time from compute, whenever it is issued.
  EXPECT_GE(none["step_time_s"], planned["step_time_s"]);
  EXPECT_EQ(none["events"], planned["events"]);
  const Ended ended = simulate({"--prefetch-depth", "2"});
  EXPECT_THAT(ended.out, HasSubstr("2 units gathered ahead: "));
}

TEST_F(SimulateCommand, WritesTheTraceOfTheRanksAskedFor) {
  const std::string path = folder_ / "trace.json";
  const Ended ended = simulate({"--trace", path, "--trace-ranks", "1,3", "--slow-rank", "3:2"});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  const formats::Trace trace = formats::read_chrome_trace(path);
  EXPECT_THAT(trace.ranks, testing::ElementsAre(1, 3));
  EXPECT_THAT(formats::check_trace_nesting(trace), testing::IsEmpty());
  ASSERT_EQ(simulate({"--trace", path + ".gz"}).exit_code, 0);
  const std::string packed = common::read_file(path + ".gz", common::Bytes(1 << 20));
  EXPECT_THAT(packed, testing::StartsWith("\x1f\x8b"));
  EXPECT_LT(packed.size(), common::read_file(path, common::Bytes(1 << 24)).size() / 4);
}

TEST_F(SimulateCommand, RefusesWhatIsOutOfRange) {
  struct Refused {
    std::vector<std::string> flags;
    int exit_code;
    const char* says;
  };
  const std::vector<Refused> table = {
      {{"--slow-rank", "4:1.1"}, 3, "--slow-rank: there is no rank 4; the layout has ranks 0 to 3"},
      {{"--slow-rank", "1"}, 2, "like 3:1.1"},
      {{"--slow-rank", "1:nan"}, 3, "from 0.1 to 100"},
      {{"--slow-node", "0:1000"}, 3, "from 0.1 to 100"},
      {{"--degraded-link", "0:0.5"}, 3, "all ranks are on one node"},
      {{"--speed-spread", "0.5"}, 3, "from 0 to 0.15"},
      {{"--jitter", "-1"}, 3, "from 0 to 0.15"},
      {{"--overlap", "2"}, 3, "from 0 to 1"},
      {{"--overlap", "0.5", "--no-overlap"}, 3, "leave one out"},
      {{"--seed", "x"}, 2, "--seed"},
      {{"--seed", "-1"}, 2, "'-1' must be a whole number from 0 to 2^64 - 1"},
      {{"--seed", "99999999999999999999"}, 2, "from 0 to 2^64 - 1"},
      {{"--prefetch-depth", "4"}, 3, "prefetch_depth=4: must be from 0 to 3"},
      {{"--prefetch-depth", "-1"}, 3, "prefetch_depth=-1: must be from 0 to 3"},
      {{"--trace-ranks", "0"}, 2, "--trace"},
      {{"--trace", "t.json", "--trace-ranks", "9"}, 3, "there is no rank 9"},
      {{"--trace", "t.json", "--trace-ranks", "a"}, 3, "as in 3,5-7"}};
  for (const Refused& refused : table) {
    const Ended ended = simulate(refused.flags);
    EXPECT_EQ(ended.exit_code, refused.exit_code) << refused.flags[0] << ended.err;
    EXPECT_THAT(ended.err, HasSubstr(refused.says)) << refused.flags[0];
  }
  const Ended both = simulate({"--slow-rank", "9:1.1", "--jitter", "1"});
  EXPECT_THAT(both.err, HasSubstr("there is no rank 9"));
  EXPECT_THAT(both.err, HasSubstr("--jitter"));
}

}  // namespace
}  // namespace meshplan::tests
