#include "formats/launch_environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "formats/pod_environment.h"
#include "tests/common/expect_error.h"

namespace meshplan::formats {
namespace {

using common::ErrorCode;
using tests::expect_error;
using Variables = std::map<std::string, std::string>;
using Ports = std::vector<std::uint16_t>;

VariableLookup in(const Variables& variables) {
  return [&variables](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
}

LaunchEnvironment read(const Variables& variables, const LaunchFlags& flags = {}) {
  return read_launch_environment(in(variables), flags);
}

Variables with(Variables variables, const Variables& changes) {
  for (const auto& [name, value] : changes) variables[name] = value;
  return variables;
}

Variables without(Variables variables, const std::string& name) {
  variables.erase(name);
  return variables;
}

template <class... Words>
void refuses(const Variables& variables, const Words&... words) {
  expect_error(
      ErrorCode::kInvalidInput, [&] { read(variables); }, words...);
}

const Variables kPlain = {{"RANK", "5"},         {"LOCAL_RANK", "1"},
                          {"WORLD_SIZE", "8"},   {"LOCAL_WORLD_SIZE", "4"},
                          {"MASTER_ADDR", "n0"}, {"MASTER_PORT", "2900"}};
const Variables kTorchrun =
    with(kPlain, {{"TORCHELASTIC_RUN_ID", "job"}, {"TORCHELASTIC_USE_AGENT_STORE", "True"}});
const Variables kRay = with(kPlain, {{"RAY_JOB_ID", "01000000"}, {"NODE_RANK", "1"}});
const Variables kOpenMpi = {{"OMPI_COMM_WORLD_RANK", "5"},
                            {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                            {"OMPI_COMM_WORLD_SIZE", "8"},
                            {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
                            {"OMPI_UNIVERSE_SIZE", "64"}};
const Variables kPmi = {
    {"PMI_RANK", "5"}, {"MPI_LOCALRANKID", "1"}, {"PMI_SIZE", "8"}, {"MPI_LOCALNRANKS", "4"}};
const Variables kSlurm = {{"SLURM_PROCID", "5"},
                          {"SLURM_LOCALID", "1"},
                          {"SLURM_NODEID", "1"},
                          {"SLURM_NTASKS", "16"},
                          {"SLURM_STEP_NUM_TASKS", "8"},
                          {"SLURM_TASKS_PER_NODE", "8(x2)"},
                          {"SLURM_STEP_TASKS_PER_NODE", "4(x2)"},
                          {"SLURM_JOB_ID", "1234567"},
                          {"SLURM_STEP_ID", "0"},
                          {"SLURM_JOB_NODELIST", "n[08-11]"},
                          {"SLURM_STEP_NODELIST", "n[09-10]"},
                          {"SLURM_JOB_NAME", "pretrain"}};

LaunchEnvironment place(const char* launcher, const std::string& master, const Ports& ports) {
  LaunchEnvironment environment;
  environment.rank = 5;
  environment.local_rank = 1;
  environment.world_size = 8;
  environment.local_world_size = 4;
  environment.master_address = master;
  environment.master_ports = ports;
  environment.launcher = launcher;
  return environment;
}

LaunchEnvironment slurm_place(const std::string& master, const Ports& ports) {
  LaunchEnvironment environment = place("slurm", master, ports);
  environment.hosts = {"n09", "n10"};
  return environment;
}

TEST(LaunchEnvironment, IsASingleProcessWithoutVariables) {
  EXPECT_EQ(read({}), LaunchEnvironment{});
}

TEST(LaunchEnvironment, IsReadFromPlainVariables) {
  EXPECT_EQ(read(kPlain), place("environment", "n0", {2900}));
}

TEST(LaunchEnvironment, IsReadFromTorchrun) {
  LaunchEnvironment expected = place("torchrun", "n0", {2900});
  EXPECT_EQ(read(with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "False"}})), expected);
  expected.use_agent_store = true;
  EXPECT_EQ(read(kTorchrun), expected);
}

TEST(LaunchEnvironment, OfRayLeavesItsPortToRay) {
  LaunchEnvironment expected = place("ray", "n0", {2901, 2902, 2903, 2904, 2905, 2906, 2907, 2908});
  expected.job = "ray/01000000/2900";
  EXPECT_EQ(read(kRay), expected);
}

TEST(LaunchEnvironment, OfMpiHasNoMaster) {
  EXPECT_EQ(read(kOpenMpi), place("openmpi", "", {}));
  EXPECT_EQ(read(kPmi), place("pmi", "", {}));
  EXPECT_EQ(read(with(kOpenMpi, {{"MASTER_ADDR", "n0"}})), place("openmpi", "n0", {29500}));
  EXPECT_EQ(read(with(kPmi, {{"MASTER_ADDR", "n0"}, {"MASTER_PORT", "77"}})),
            place("pmi", "n0", {77}));
}

TEST(LaunchEnvironment, OfSlurmIsThatOfTheStep) {
  LaunchEnvironment expected =
      slurm_place("n09", {19567, 19568, 19569, 19570, 19571, 19572, 19573, 19574});
  expected.hosts = {"n09", "n10"};
  expected.job = "slurm/1234567.0/0";
  EXPECT_EQ(read(kSlurm), expected);
  expected.job = "slurm/1234567.0/2";
  EXPECT_EQ(read(with(kSlurm, {{"SLURM_RESTART_COUNT", "2"}})), expected);
}

TEST(LaunchEnvironment, OfSlurmTakesWhatOlderVersionsSet) {
  Variables old = {{"SLURM_PROCID", "5"},          {"SLURM_LOCALID", "1"},
                   {"SLURM_NTASKS", "8"},          {"SLURM_NTASKS_PER_NODE", "4"},
                   {"SLURM_NODELIST", "n[09-10]"}, {"SLURM_JOBID", "9999"}};
  const LaunchEnvironment environment = read(old);
  EXPECT_EQ(environment.local_world_size, 4);
  EXPECT_EQ(environment.master_address, "n09");
  EXPECT_EQ(environment.master_ports,
            (Ports{24999, 15000, 15001, 15002, 15003, 15004, 15005, 15006}));
}

TEST(LaunchEnvironment, OfSlurmIsNotThatOfAShellOrBatchScript) {
  const Variables script = without(without(kSlurm, "SLURM_STEP_ID"), "SLURM_STEP_NUM_TASKS");
  EXPECT_EQ(read(with(script, {{"ENVIRONMENT", "BATCH"}})), LaunchEnvironment{});
  EXPECT_EQ(read(with(script, {{"SLURM_JOB_NAME", "interactive"}})), LaunchEnvironment{});
  EXPECT_EQ(read(with(script, {{"SLURM_JOB_NAME", "bash"}})), LaunchEnvironment{});
  EXPECT_EQ(read(with(kSlurm, {{"SLURM_STEP_ID", "4294967290"}})), LaunchEnvironment{});
  EXPECT_EQ(read(with(kSlurm, {{"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_PROCID", "0"}})),
            LaunchEnvironment{});
  EXPECT_EQ(read(with(kSlurm, {{"ENVIRONMENT", "BATCH"}, {"SLURM_JOB_NAME", "bash"}})).launcher,
            "slurm")
      << "srun of a batch script, and of an interactive job";
}

TEST(LaunchEnvironment, OfSlurmOnOneNodeMeetsOnLoopback) {
  const LaunchEnvironment environment = read(with(kSlurm, {{"SLURM_STEP_TASKS_PER_NODE", "8"},
                                                           {"SLURM_LOCALID", "5"},
                                                           {"SLURM_STEP_NODELIST", "n09"}}));
  EXPECT_EQ(environment.master_address, "127.0.0.1");
  EXPECT_EQ(environment.local_world_size, 8);
}

TEST(LaunchEnvironment, OfSlurmTakesAMasterThatTheScriptSets) {
  EXPECT_EQ(
      read(with(kSlurm, {{"MASTER_ADDR", "n77"}, {"MASTER_PORT", "4000"}, {"WORLD_SIZE", "8"}})),
      slurm_place("n77", {4000}));
}

TEST(LaunchEnvironment, OfTheInnerLauncherWins) {
  const Variables one_a_node = with(kSlurm, {{"SLURM_STEP_NUM_TASKS", "2"},
                                             {"SLURM_STEP_TASKS_PER_NODE", "1(x2)"},
                                             {"SLURM_PROCID", "1"},
                                             {"SLURM_LOCALID", "0"}});
  EXPECT_EQ(read(with(kTorchrun, one_a_node)).launcher, "torchrun");
  EXPECT_EQ(read(with(kRay, one_a_node)).launcher, "ray");
  EXPECT_EQ(read(with(kOpenMpi, one_a_node)).launcher, "openmpi");
  EXPECT_EQ(read(with(kPlain, kSlurm)).launcher, "environment") << "the same place twice";
  EXPECT_EQ(read(with(kPmi, kSlurm)).launcher, "slurm") << "srun --mpi=pmi2";
  EXPECT_EQ(read(with(kPmi, one_a_node)).launcher, "pmi");
}

TEST(LaunchEnvironment, RefusesTwoLaunchersThatContradictEachOther) {
  refuses(with(kTorchrun, with(kOpenMpi, {{"OMPI_COMM_WORLD_RANK", "2"}})), "two launchers",
          "torchrun says rank 5 of 8 on 2 nodes", "Open MPI says rank 2 of 8",
          "--launcher torchrun");
  refuses(with(kPlain, with(kSlurm, {{"SLURM_PROCID", "4"}})), "two launchers",
          "Slurm says rank 4 of 8", "--launcher environment");
  refuses(with(kOpenMpi, with(kSlurm, {{"SLURM_STEP_NUM_TASKS", "4"}})), "two launchers",
          "Open MPI says rank 5 of 8", "Slurm says rank 5 of 4");
  EXPECT_EQ(read(with(kPlain, with(kSlurm, {{"SLURM_PROCID", "4"}})), {.launcher = "environment"}),
            place("environment", "n0", {2900}));
}

TEST(LaunchEnvironment, IsWhatTheFlagsSay) {
  LaunchFlags flags;
  flags.rank = 5;
  flags.world_size = 8;
  flags.local_world_size = 4;
  flags.master_address = "n0";
  flags.master_port = 2900;
  EXPECT_EQ(read({}, flags), place("flags", "n0", {2900}));
  EXPECT_EQ(read(with(kSlurm, kOpenMpi), flags), place("flags", "n0", {2900}));
  EXPECT_EQ(read(kTorchrun, {.launcher = "none"}), LaunchEnvironment{});
}

TEST(LaunchEnvironment, TakesEachFlagBeforeTheVariable) {
  LaunchFlags flags;
  flags.master_address = "n7";
  flags.master_port = 4000;
  EXPECT_EQ(read(kTorchrun, flags), place("torchrun", "n7", {4000})) << "and serves it itself";
  EXPECT_EQ(read(kSlurm, flags), slurm_place("n7", {4000}));
  EXPECT_EQ(read(kOpenMpi, flags), place("openmpi", "n7", {4000}));
  flags = {};
  flags.local_world_size = 2;
  EXPECT_EQ(read(kPlain, flags).local_world_size, 2);
  expect_error(
      ErrorCode::kInvalidInput, [] { read({}, {.launcher = "slurm"}); }, "--launcher slurm",
      "SLURM_PROCID is not set");
  expect_error(
      ErrorCode::kInvalidInput, [] { read({}, {.launcher = "mesos"}); }, "--launcher mesos",
      "must be auto, torchrun");
  flags = {};
  flags.rank = 1;
  expect_error(
      ErrorCode::kInvalidInput, [&] { read({}, flags); }, "--world-size");
}

TEST(LaunchEnvironment, NamesWhatIsMissing) {
  refuses(without(kPlain, "LOCAL_RANK"), "RANK, WORLD_SIZE set", "without LOCAL_RANK");
  refuses(without(without(kPlain, "WORLD_SIZE"), "LOCAL_RANK"), "RANK set", "without WORLD_SIZE");
  refuses({{"WORLD_SIZE", "4"}}, "WORLD_SIZE set", "without RANK, LOCAL_RANK");
  refuses({{"TORCHELASTIC_RUN_ID", "job"}}, "WORLD_SIZE is not set", "torchrun");
  refuses(without(kPlain, "MASTER_ADDR"), "WORLD_SIZE=8", "MASTER_ADDR");
  refuses(without(kPlain, "MASTER_PORT"), "WORLD_SIZE=8", "MASTER_PORT");
  refuses(without(kPlain, "LOCAL_WORLD_SIZE"), "LOCAL_WORLD_SIZE is not set", "MASTER_ADDR=n0");
  refuses(without(kPmi, "MPI_LOCALRANKID"), "MPI_LOCALRANKID is not set");
  refuses(without(kOpenMpi, "OMPI_COMM_WORLD_SIZE"), "OMPI_COMM_WORLD_SIZE is not set");
  refuses(without(kSlurm, "SLURM_JOB_ID"), "SLURM_JOB_ID", "--master-port");
}

TEST(LaunchEnvironment, TakesAllRanksToBeHereWhenTheyMeetOnLoopback) {
  const Variables here = with(without(kPlain, "LOCAL_WORLD_SIZE"),
                              {{"MASTER_ADDR", "127.0.0.1"}, {"LOCAL_RANK", "5"}});
  EXPECT_EQ(read(here).local_world_size, 8);
}

TEST(LaunchEnvironment, NamesWhatIsOutOfRangeOrNoNumber) {
  const auto fails = [](const char* name, const char* value, const char* limit) {
    refuses(with(kPlain, {{name, value}}), std::string(name) + "=" + value, limit);
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

TEST(LaunchEnvironment, RefusesNodesWithDifferentNumbersOfRanks) {
  refuses(with(kPlain, {{"LOCAL_WORLD_SIZE", "3"}}), "8 ranks, 3 of them on this node");
  refuses(with(kSlurm, {{"SLURM_STEP_TASKS_PER_NODE", "5,3"}}), "SLURM_STEP_TASKS_PER_NODE=5,3",
          "--ntasks-per-node");
}

TEST(LaunchEnvironment, RefusesRanksThatAreNotDealtInBlocks) {
  refuses(with(kSlurm, {{"SLURM_LOCALID", "2"}}), "rank 5 is local rank 2 of 4",
          "--distribution=block");
  refuses(with(kOpenMpi, {{"OMPI_COMM_WORLD_LOCAL_RANK", "2"}}), "--map-by");
}

TEST(LaunchEnvironment, OfOneRankNeedsNoMaster) {
  const LaunchEnvironment one = read({{"RANK", "0"}, {"LOCAL_RANK", "0"}, {"WORLD_SIZE", "1"}});
  EXPECT_EQ(one.launcher, "environment");
  EXPECT_TRUE(one.master_ports.empty());
}

TEST(LaunchEnvironment, IsSaidInOneLine) {
  EXPECT_EQ(describe(read(kSlurm)),
            "rank 5 of 8 by Slurm, 4 a node; the ranks meet at n09:19567 or the next free port");
  EXPECT_EQ(describe(read(kTorchrun)),
            "rank 5 of 8 by torchrun, 4 a node; the ranks meet at torchrun's agent, n0:2900");
  EXPECT_EQ(describe(read(kOpenMpi)),
            "rank 5 of 8 by Open MPI, 4 a node; the ranks meet at a place that rank 0 publishes");
}

const Variables kTrainJob = {{"PET_NNODES", "2"},
                             {"PET_NPROC_PER_NODE", "4"},
                             {"PET_NODE_RANK", "1"},
                             {"PET_MASTER_ADDR", "job-node-0-0.job"},
                             {"PET_MASTER_PORT", "29400"}};
/// As training-operator 1.9.4 and older ones set them.
const Variables kPyTorchJob = {{"KUBERNETES_SERVICE_HOST", "10.0.0.1"},
                               {"RANK", "1"},
                               {"WORLD_SIZE", "2"},
                               {"MASTER_ADDR", "job-master-0"},
                               {"MASTER_PORT", "23456"}};

TEST(PodEnvironment, IsReadFromATrainJob) {
  EXPECT_EQ(read_node_environment(in(kTrainJob)),
            (NodeEnvironment{2, 1, "job-node-0-0.job", 29400, false}));
  EXPECT_EQ(read(kTrainJob), LaunchEnvironment{}) << "a pod is no rank";
}

TEST(PodEnvironment, IsReadFromAPyTorchJob) {
  EXPECT_EQ(read_node_environment(in(kPyTorchJob)),
            (NodeEnvironment{2, 1, "job-master-0", 23456, false}));
  const Variables newer = with(kPyTorchJob, {{"WORLD_SIZE", "8"},
                                             {"PET_NNODES", "2"},
                                             {"PET_NODE_RANK", "1"},
                                             {"PET_NPROC_PER_NODE", "4"}});
  EXPECT_EQ(read_node_environment(in(newer)),
            (NodeEnvironment{2, 1, "job-master-0", 23456, false}));
  refuses(kPyTorchJob, "RANK=1 counts pods");
  refuses(newer, "RANK=1 counts pods");
}

TEST(PodEnvironment, OfAnElasticJobIsLeftToTorchrun) {
  const auto node = read_node_environment(
      in({{"PET_NNODES", "1:4"}, {"PET_RDZV_ENDPOINT", "job-master-0:23456"}}));
  ASSERT_TRUE(node);
  EXPECT_TRUE(node->elastic);
  EXPECT_EQ(node->nodes, 4);
}

TEST(PodEnvironment, IsAbsentElsewhere) {
  EXPECT_FALSE(read_node_environment(in({})));
  EXPECT_FALSE(read_node_environment(in({{"PET_NNODES", "1"}})));
  EXPECT_FALSE(read_node_environment(in(with(kTrainJob, kTorchrun))));
  EXPECT_FALSE(read_node_environment(in(kPlain)));
}

TEST(PodEnvironment, NamesWhatIsMissing) {
  const auto fails = [](const Variables& variables, const char* missing) {
    expect_error(
        ErrorCode::kInvalidInput, [&] { read_node_environment(in(variables)); }, missing);
  };
  fails(without(kTrainJob, "PET_NODE_RANK"), "PET_NODE_RANK is not set");
  fails(without(kTrainJob, "PET_MASTER_ADDR"), "PET_MASTER_ADDR is not set");
  fails(with(kTrainJob, {{"PET_NODE_RANK", "2"}}), "PET_NODE_RANK=2");
}

TEST(LaunchFlags, RefuseWhatIsOutOfRange) {
  LaunchFlags flags;
  for (const LaunchFlag& flag : launch_flags()) {
    if (std::string(flag.type) != "HOST" && std::string(flag.type) != "") {
      expect_error(
          ErrorCode::kUsage, [&] { flag.set(flags, "-1"); }, flag.name, "-1");
    }
    if (std::string(flag.name) != "--launcher") flag.set(flags, "7");
  }
  EXPECT_EQ(flags.rank, 7);
  EXPECT_EQ(flags.world_size, 7);
  EXPECT_EQ(flags.local_rank, 7);
  EXPECT_EQ(flags.local_world_size, 7);
  EXPECT_EQ(flags.master_address, "7");
  EXPECT_EQ(flags.master_port, 7);
  EXPECT_EQ(flags.timeout_s, 7);
}

}  // namespace
}  // namespace meshplan::formats
