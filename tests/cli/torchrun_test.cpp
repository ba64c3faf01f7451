#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "common/file.h"
#include "tests/cli/running.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::tests {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

/// A copy of meshplan beside a script that stands for its ranks, started by the real torchrun.
class Torchrun : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(folder_ / "bin");
    std::filesystem::copy_file(MESHPLAN_PROGRAM, folder_ / "bin/meshplan");
  }

  Running start(const std::string& rank_script) const {
    write_script(folder_ / "bin/meshplan-train", rank_script);
    return Running(
        {folder_ / "bin/meshplan", "calibrate", "--ranks", "2", "-o", folder_ / "cluster.json"},
        {{"MESHPLAN_TORCH_PYTHON", MESHPLAN_TORCH_PYTHON}});
  }

  TemporaryFolder folder_;
};

TEST_F(Torchrun, StartsEveryRankAndIsSilentItself) {
  const Ended ended = start("echo \"rank $RANK of $WORLD_SIZE\"\n").wait();
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("rank 0 of 2\n"));
  EXPECT_THAT(ended.out, HasSubstr("rank 1 of 2\n"));
  EXPECT_EQ(ended.err, "meshplan calibrate: wrote " + (folder_ / "cluster.json").string() + "\n");
}

TEST_F(Torchrun, LetsARanksFailureBeTheLastWord) {
  const Ended ended =
      start("[ $RANK = 0 ] && exec sleep 60; echo 'rank 1: no such dtype' >&2; exit 3\n").wait();
  EXPECT_EQ(ended.exit_code, 3);
  EXPECT_THAT(ended.err, testing::StartsWith("rank 1: no such dtype\n"));
  EXPECT_THAT(ended.err, EndsWith("ended with exit code 3; what it said is above\n"));
  EXPECT_THAT(ended.err, Not(HasSubstr("Traceback")));
  EXPECT_LT(ended.seconds, 60);
}

TEST_F(Torchrun, NamesTheSignalThatKilledARank) {
  const Ended ended = start("[ $RANK = 0 ] && exec sleep 60; kill -9 $$\n").wait();
  EXPECT_EQ(ended.exit_code, 8);
  EXPECT_THAT(ended.err, HasSubstr("rank 1 (pid "));
  EXPECT_THAT(ended.err, EndsWith("was killed by SIGKILL; what it said is above\n"));
}

TEST_F(Torchrun, StopsItsRanksOnASignal) {
  Running running = start("touch " + (folder_ / "started").string() + "-$RANK; exec sleep 120\n");
  for (int i = 0; i < 600 && !std::filesystem::exists(folder_ / "started-1"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  ASSERT_TRUE(std::filesystem::exists(folder_ / "started-1"));
  ::kill(running.pid(), SIGINT);
  const Ended ended = running.wait();
  EXPECT_EQ(ended.exit_code, 130);
  EXPECT_THAT(ended.err, EndsWith("stopped by SIGINT; all ranks have ended\n"));
  EXPECT_LT(ended.seconds, 100);
}

}  // namespace
}  // namespace meshplan::tests
