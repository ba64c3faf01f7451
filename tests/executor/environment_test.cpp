#include "executor/launch/environment.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/common/expect_error.h"

namespace meshplan::executor {
namespace {

using common::ErrorCode;
using tests::expect_error;
using Variables = std::map<std::string, std::string>;

LaunchEnvironment read(const Variables& variables) {
  return read_launch_environment([&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
}

Variables with(Variables variables, const Variables& changes) {
  for (const auto& [name, value] : changes) variables[name] = value;
  return variables;
}

Variables without(Variables variables, const std::string& name) {
  variables.erase(name);
  return variables;
}

const Variables kPlain = {{"RANK", "5"},         {"LOCAL_RANK", "1"},
                          {"WORLD_SIZE", "8"},   {"LOCAL_WORLD_SIZE", "4"},
                          {"MASTER_ADDR", "n0"}, {"MASTER_PORT", "2900"}};
const Variables kTorchrun =
    with(kPlain, {{"TORCHELASTIC_RUN_ID", "job"}, {"TORCHELASTIC_USE_AGENT_STORE", "True"}});

TEST(LaunchEnvironment, IsASingleProcessWithoutVariables) {
  EXPECT_EQ(read({}), LaunchEnvironment{});
}

TEST(LaunchEnvironment, IsReadFromPlainVariables) {
  EXPECT_EQ(read(kPlain), (LaunchEnvironment{5, 1, 8, 4, "n0", 2900, "environment", false}));
}

TEST(LaunchEnvironment, IsReadFromTorchrun) {
  EXPECT_EQ(read(kTorchrun), (LaunchEnvironment{5, 1, 8, 4, "n0", 2900, "torchrun", true}));
  EXPECT_FALSE(read(with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "False"}})).use_agent_store);
}

TEST(LaunchEnvironment, NamesWhatIsMissing) {
  const auto fails = [](const Variables& variables, const char* set, const char* missing) {
    expect_error(
        ErrorCode::kInvalidInput, [&] { read(variables); }, set, missing);
  };
  fails(without(kPlain, "LOCAL_RANK"), "RANK, WORLD_SIZE set", "without LOCAL_RANK");
  fails({{"WORLD_SIZE", "4"}}, "WORLD_SIZE set", "without RANK, LOCAL_RANK");
  fails({{"TORCHELASTIC_RUN_ID", "job"}}, "TORCHELASTIC_RUN_ID set",
        "without RANK, LOCAL_RANK, WORLD_SIZE");
  fails(without(kPlain, "MASTER_ADDR"), "WORLD_SIZE=8", "MASTER_ADDR");
  fails(without(kPlain, "MASTER_PORT"), "WORLD_SIZE=8", "MASTER_PORT");
  fails(without(kPlain, "LOCAL_WORLD_SIZE"), "LOCAL_WORLD_SIZE is not set", "MASTER_ADDR=n0");
}

TEST(LaunchEnvironment, TakesAllRanksToBeHereWhenTheyMeetOnLoopback) {
  const Variables here = with(without(kPlain, "LOCAL_WORLD_SIZE"), {{"MASTER_ADDR", "127.0.0.1"}});
  EXPECT_EQ(read(here).local_world_size, 8);
}

TEST(LaunchEnvironment, NamesWhatIsOutOfRangeOrNoNumber) {
  const auto fails = [](const char* name, const char* value, const char* limit) {
    expect_error(
        ErrorCode::kInvalidInput,
        [&] {
          read(with(kPlain, {{name, value}}));
        },
        std::string(name) + "=" + value, limit);
  };
  fails("RANK", "8", "from 0 to 7");
  fails("RANK", "-1", "from 0 to 7");
  fails("RANK", "1x", "whole number");
  fails("RANK", "", "whole number");
  fails("WORLD_SIZE", "0", "from 1");
  fails("WORLD_SIZE", "99999999999999999999", "from 1");
  fails("LOCAL_RANK", "4", "from 0 to 3");
  fails("LOCAL_WORLD_SIZE", "9", "from 1 to 8");
  fails("MASTER_PORT", "65536", "from 1 to 65535");
}

TEST(LaunchEnvironment, OfOneRankNeedsNoMaster) {
  const LaunchEnvironment one = read({{"RANK", "0"}, {"LOCAL_RANK", "0"}, {"WORLD_SIZE", "1"}});
  EXPECT_EQ(one.launcher, "environment");
  EXPECT_EQ(one.master_port, 0);
}

}  // namespace
}  // namespace meshplan::executor
