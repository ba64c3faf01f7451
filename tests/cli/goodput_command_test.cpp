#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/running.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class GoodputCommand : public testing::Test {
 protected:
  void SetUp() override {
    const Ended ended = meshplan({"plan", "--model", "qwen2.5-0.5b", "--cluster", "h100-sxm",
                                  "--nodes", "2", "--seq-length", "2048", "-o", plan_});
    ASSERT_EQ(ended.exit_code, 0) << ended.err;
  }

  Ended goodput(std::vector<std::string> flags) const {
    flags.insert(flags.begin(), {"goodput", plan_});
    return meshplan(flags);
  }

  TemporaryFolder folder_;
  const std::string plan_ = folder_ / "plan.json";
};

TEST_F(GoodputCommand, TellsTheBestIntervalAndWhatIsLost) {
  const Ended ended =
      goodput({"--days", "54", "--mtbf-hours-per-gpu", "200", "--checkpoint-seconds", "10"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out,
              AllOf(HasSubstr("54 days on 16 GPUs"), HasSubstr("best interval"),
                    HasSubstr("interval by Young 1974"), HasSubstr("lost to training done again"),
                    HasSubstr("goodput of 1000 runs played")));
  EXPECT_EQ(ended.err, "");
}

TEST_F(GoodputCommand, IsTheSameForASeedAndNearTheClosedForm) {
  const std::vector<std::string> flags = {"--days",
                                          "30",
                                          "--mtbf-hours-per-gpu",
                                          "500",
                                          "--mtbf-hours-per-node",
                                          "1000",
                                          "--storage-bandwidth",
                                          "1",
                                          "--blocking-seconds",
                                          "2",
                                          "--seed",
                                          "3",
                                          "--json"};
  const common::Json json = json_of(goodput(flags));
  EXPECT_EQ(json, json_of(goodput(flags)));
  // 720 hours x (16 / 500 + 2 / 1000).
  EXPECT_NEAR(json["failures"].get<double>(), 24.48, 1e-9);
  const double useful = json["goodput"]["useful"];
  EXPECT_NEAR(json["played"]["useful"]["mean"].get<double>(), useful, 0.005);
  // Weights in bfloat16, masters and moments in float32: 14 bytes a parameter at 1 GB/s, less 2 s.
  const double write = json["checkpoint_bytes"].get<double>() / 1e9;
  EXPECT_NEAR(json["checkpoint_async_s"].get<double>(), write - 2, 1e-9);
}

TEST_F(GoodputCommand, SaysAllThatIsWrongAtOnce) {
  const Ended ended = goodput({"--days", "0", "--mtbf-hours-per-gpu", "-1", "--restart-seconds",
                               "nan", "--interval-minutes", "soon", "--runs", "1000000"});
  EXPECT_EQ(ended.exit_code, 3);
  EXPECT_EQ(ended.out, "");
  EXPECT_THAT(ended.err,
              AllOf(HasSubstr("6 things are wrong"), HasSubstr("--days=0: must be above 0"),
                    HasSubstr("--mtbf-hours-per-gpu=-1"), HasSubstr("--restart-seconds=nan"),
                    HasSubstr("--interval-minutes=soon: must be auto"),
                    HasSubstr("--storage-bandwidth=0: must be above 0"),
                    HasSubstr("--runs=1000000: must be from 0 to 100000")));
}

TEST_F(GoodputCommand, RefusesARunThatWouldNeverEnd) {
  const Ended ended = goodput({"--days", "10", "--mtbf-hours-per-gpu", "0.001",
                               "--checkpoint-seconds", "60", "--runs", "0"});
  EXPECT_EQ(ended.exit_code, 3);
  EXPECT_THAT(ended.err, HasSubstr("the run would never end"));
}

TEST_F(GoodputCommand, LosesOnlyCheckpointsWhereNothingFails) {
  const common::Json json = json_of(
      goodput({"--days", "10", "--checkpoint-seconds", "60", "--interval-minutes", "9", "--json"}));
  EXPECT_DOUBLE_EQ(json["goodput"]["useful"], 0.9);
  EXPECT_TRUE(json["mtbf_s"].is_null());
}

}  // namespace
}  // namespace meshplan::tests
