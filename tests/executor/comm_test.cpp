#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <regex>

#include "formats/error_record.h"
#include "tests/executor/rank_processes.h"

namespace meshplan::executor {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;
using tests::Ended;
using tests::TestProcesses;

constexpr int kRankLost = 8;

void expect_clean(TestProcesses& processes) {
  EXPECT_EQ(processes.count_orphans(), 0);
  EXPECT_THAT(processes.all_output(), Not(HasSubstr("terminate called")));
  EXPECT_THAT(processes.all_output(), Not(HasSubstr("core dumped")));
}

void expect_holds(const std::string& scenario) {
  TestProcesses processes;
  processes.start_ranks(COMM_WORKER, scenario, 4);
  for (const Ended& ended : processes.wait(90s)) EXPECT_EQ(ended.exit_code, 0);
  expect_clean(processes);
  if (testing::Test::HasFailure()) std::cout << processes.all_output();
}

TEST(CommunicatorMesh, GroupsReduceOnlyTheirAxis) { expect_holds("groups_reduce_only_their_axis"); }

TEST(CommunicatorMesh, ReducesGathersAndScattersAllTypesInPlaceOrNot) {
  expect_holds("collectives_of_all_types");
}

TEST(CollectiveLog, RecordsKindAxisAndBytesInOrderOfIssue) {
  expect_holds("log_holds_what_was_issued");
}

TEST(CountingAllocator, LateDropsOfGloosThreadsLeaveOwnMemoryAlone) {
  expect_holds("late_drops_leave_own_memory_alone");
}

/// All ranks but `lost` end with 8, name it and its pid, and are done within 20 s of its loss.
void expect_others_name(TestProcesses& processes, std::size_t lost, const std::string& what,
                        double since) {
  const std::string name =
      "rank " + std::to_string(lost) + " of 4 (pid " + std::to_string(processes.pid(lost)) + ")";
  const std::vector<Ended> ended = processes.wait(40s);
  for (std::size_t rank = 0; rank < ended.size(); ++rank) {
    if (rank == lost) continue;
    EXPECT_EQ(ended[rank].exit_code, kRankLost) << "rank " << rank;
    EXPECT_LT(ended[rank].after_s - since, 20) << "rank " << rank;
    EXPECT_THAT(processes.output(rank), HasSubstr(name + what));
    EXPECT_THAT(processes.output(rank),
                HasSubstr("rank " + std::to_string(rank) + " stops at step "));
    std::cout << "rank " << rank << " ended after " << ended[rank].after_s - since << " s\n";
  }
}

class KilledRank : public testing::TestWithParam<std::size_t> {};

TEST_P(KilledRank, IsNamedByTheOthersWhichStop) {
  TestProcesses processes;
  processes.start_ranks(COMM_WORKER, "loop", 4);
  ASSERT_TRUE(processes.wait_for_word("ready", 4, 90s)) << processes.all_output();
  processes.send(GetParam(), SIGKILL);
  expect_others_name(processes, GetParam(), " died", processes.seconds());
  const auto cause = formats::first_cause(processes.run_folder());
  ASSERT_TRUE(cause);
  EXPECT_EQ(cause->code, "rank_lost");
  EXPECT_EQ(cause->exit_code, kRankLost);
  EXPECT_THAT(cause->message, HasSubstr("rank " + std::to_string(GetParam()) + " of 4"));
  expect_clean(processes);
  if (HasFailure()) std::cout << processes.all_output();
}

/// Rank 0 serves the store: the others must name it without.
INSTANTIATE_TEST_SUITE_P(OfFour, KilledRank, testing::Values(0, 1));

TEST(StoppedRank, IsNamedAfterTheCollectivesTimeout) {
  TestProcesses processes;
  processes.start_ranks(COMM_WORKER, "loop_with_short_timeout", 4);
  ASSERT_TRUE(processes.wait_for_word("ready", 4, 90s)) << processes.all_output();
  processes.send(2, SIGSTOP);
  const double stopped = processes.seconds();
  while (processes.ended(1).exit_code < 0 && processes.seconds() < stopped + 40) processes.wait(0s);
  processes.send(2, SIGKILL);
  expect_others_name(processes, 2, " is stopped (SIGSTOP)", stopped);
  expect_clean(processes);
  if (HasFailure()) std::cout << processes.all_output();
}

TEST(HungRank, IsNamedByTheCollectivesItDidNotIssue) {
  TestProcesses processes;
  processes.start_ranks(COMM_WORKER, "hang", 4);
  const std::vector<Ended> ended = processes.wait(90s);
  for (const std::size_t rank : {0u, 2u, 3u}) {
    EXPECT_EQ(ended[rank].exit_code, kRankLost);
    EXPECT_THAT(processes.output(rank),
                HasSubstr("rank 1 of 4 (pid " + std::to_string(processes.pid(1)) + ") hung: "));
    EXPECT_THAT(processes.output(rank), HasSubstr("stops at step 5"));
  }
  EXPECT_EQ(ended[1].exit_code, kRankLost) << "told by the others";
  expect_clean(processes);
  if (HasFailure()) std::cout << processes.all_output();
}

TEST(FailingRank, KeepsItsExitCodeAndTheOthersSayWhy) {
  TestProcesses processes;
  processes.start_ranks(COMM_WORKER, "fail", 4);
  const std::vector<Ended> ended = processes.wait(90s);
  for (std::size_t rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(ended[rank].exit_code, rank == 2 ? 3 : kRankLost);
    EXPECT_THAT(processes.output(rank), HasSubstr("token 999 is beyond the vocabulary"));
  }
  const auto cause = formats::first_cause(processes.run_folder());
  ASSERT_TRUE(cause);
  EXPECT_EQ(*cause,
            (formats::ErrorRecord{2, "invalid_input", 3, "token 999 is beyond the vocabulary"}));
  expect_clean(processes);
  if (HasFailure()) std::cout << processes.all_output();
}

TEST(FailingRank, WithAnExceptionThatNobodyCatchesStopsInOrder) {
  TestProcesses processes;
  processes.start_ranks(COMM_WORKER, "throw_on_a_thread", 4);
  const std::vector<Ended> ended = processes.wait(90s);
  for (std::size_t rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(ended[rank].exit_code, rank == 2 ? 1 : kRankLost);
    EXPECT_THAT(processes.output(rank), HasSubstr("thrown on a thread"));
  }
  expect_clean(processes);
  if (HasFailure()) std::cout << processes.all_output();
}

TEST(CommunicatorMesh, OfOneRankNeedsNoLauncher) {
  TestProcesses processes;
  processes.start({COMM_WORKER, "alone", processes.run_folder()}, {});
  EXPECT_EQ(processes.wait(60s)[0].exit_code, 0) << processes.all_output();
}

class Signal : public testing::TestWithParam<int> {};

TEST_P(Signal, StopsEveryRankWithTheShellsCode) {
  TestProcesses processes;
  processes.start_ranks(COMM_WORKER, "loop", 4);
  ASSERT_TRUE(processes.wait_for_word("ready", 4, 90s)) << processes.all_output();
  for (std::size_t rank = 0; rank < 4; ++rank) processes.send(rank, GetParam());
  for (const Ended& ended : processes.wait(20s)) EXPECT_EQ(ended.exit_code, 128 + GetParam());
  EXPECT_THAT(processes.all_output(), HasSubstr("was stopped by "));
  expect_clean(processes);
  if (HasFailure()) std::cout << processes.all_output();
}

INSTANTIATE_TEST_SUITE_P(FromTheUser, Signal, testing::Values(SIGTERM, SIGINT));

std::vector<std::string> torchrun(const std::string& scenario, const TestProcesses& processes,
                                  const std::string& restarts = "0") {
  return {TORCHRUN, "--standalone", "--no-python", "--nproc-per-node",    "4", "--max-restarts",
          restarts, COMM_WORKER,    scenario,      processes.run_folder()};
}

TEST(Torchrun, RestartedRanksDoNotMeetTheDead) {
  TestProcesses processes;
  processes.start(torchrun("die_in_the_first_attempt", processes, "1"), {});
  EXPECT_EQ(processes.wait(120s)[0].exit_code, 0) << processes.all_output();
  EXPECT_THAT(processes.all_output(), HasSubstr(") died; rank "));
  expect_clean(processes);
}

TEST(Torchrun, RunsTheRanks) {
  TestProcesses processes;
  processes.start(torchrun("groups_reduce_only_their_axis", processes), {});
  EXPECT_EQ(processes.wait(90s)[0].exit_code, 0) << processes.all_output();
  expect_clean(processes);
}

/// In "loop" the survivors notice by their collectives, in "sleep" by the SIGTERM that torchrun
/// sends.
class KilledUnderTorchrun : public testing::TestWithParam<const char*> {};

TEST_P(KilledUnderTorchrun, IsNamedByTheSurvivors) {
  TestProcesses processes;
  processes.start(torchrun(GetParam(), processes), {});
  ASSERT_TRUE(processes.wait_for_word("ready", 4, 90s)) << processes.all_output();
  const std::string said = processes.all_output();
  std::smatch match;
  ASSERT_TRUE(std::regex_search(said, match, std::regex("ready (\\d+)")));
  const auto victim = static_cast<pid_t>(std::stol(match[1]));
  const double killed = processes.seconds();
  ::kill(victim, SIGKILL);
  const Ended ended = processes.wait(40s)[0];
  EXPECT_GT(ended.exit_code, 0);
  EXPECT_LT(ended.after_s - killed, 20);
  EXPECT_THAT(processes.all_output(),
              HasSubstr("(pid " + std::to_string(victim) + ") died; rank "));
  const auto cause = formats::first_cause(processes.run_folder());
  ASSERT_TRUE(cause) << processes.all_output();
  EXPECT_EQ(cause->exit_code, kRankLost);
  EXPECT_THAT(cause->message, HasSubstr("(pid " + std::to_string(victim) + ") died"));
  expect_clean(processes);
}

INSTANTIATE_TEST_SUITE_P(Ranks, KilledUnderTorchrun, testing::Values("loop", "sleep"));

TEST(Torchrun, RanksDoNotOutliveIt) {
  TestProcesses processes;
  processes.start(torchrun("loop", processes), {});
  ASSERT_TRUE(processes.wait_for_word("ready", 4, 90s)) << processes.all_output();
  processes.send(0, SIGKILL);
  processes.wait(5s);
  EXPECT_TRUE(processes.wait_for_word("torchrun's agent (store at", 4, 20s))
      << processes.all_output();
}

}  // namespace
}  // namespace meshplan::executor
