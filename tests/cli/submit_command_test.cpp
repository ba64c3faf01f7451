#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/cli/running.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class SubmitCommand : public testing::Test {
 protected:
  void SetUp() override {
    const Ended ended =
        meshplan({"plan", "--model", "demo-qwen2", "--cluster", "local-cpu", "--nodes", "2",
                  "--gpus-per-node", "2", "--seq-length", "128", "-o", plan_});
    ASSERT_EQ(ended.exit_code, 0) << ended.err;
    std::filesystem::create_directory(programs_);
  }

  Ended submit(const std::string& target, const std::vector<std::string>& more,
               const Variables& environment = {}) const {
    std::vector<std::string> flags = {"submit", plan_,    "--to",   target,
                                      "--init", "random", "--data", "synthetic"};
    flags.insert(flags.end(), more.begin(), more.end());
    return meshplan(flags, environment);
  }

  /// Puts a program into a PATH that has no other, and gives that PATH.
  Variables only(const std::string& program, const std::string& text) const {
    write_script(programs_ + "/" + program, text);
    return {{"PATH", programs_}};
  }

  TemporaryFolder folder_;
  const std::string plan_ = folder_ / "plan.json";
  const std::string job_ = folder_ / "job";
  const std::string programs_ = folder_ / "bin";
};

TEST_F(SubmitCommand, PrintsTheScriptOfADryRun) {
  const Ended ended = submit("slurm", {"--dry-run", "--time-limit", "1-12:00:00",
                                       "--experiment-name", "big", "--storage-path", "/s/runs"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(ended.err, "");
  EXPECT_THAT(ended.out,
              AllOf(StartsWith("#!/bin/bash\n#SBATCH --job-name=big\n#SBATCH --nodes=2\n"
                               "#SBATCH --ntasks-per-node=2\n"),
                    HasSubstr("#SBATCH --time=1-12:00:00\n#SBATCH --signal=B:USR1@180\n"),
                    HasSubstr("--storage-path /s/runs"), HasSubstr(plan_),
                    HasSubstr(std::string(MESHPLAN_PROGRAM) + " train")));
}

TEST_F(SubmitCommand, WritesTheFilesWhereItIsTold) {
  const Ended ended = submit("ray", {"--dry-run", "-o", job_, "--storage-path", "/s"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(ended.out, "");
  EXPECT_THAT(ended.err, HasSubstr("wrote job.yaml to " + job_));
  EXPECT_TRUE(std::filesystem::exists(job_ + "/plan.json"));
}

TEST_F(SubmitCommand, HandsTheJobToTheClientProgram) {
  const Variables path = only("sbatch", "echo Submitted batch job 7 from $PWD: $1; test -f $1");
  const Ended ended = submit("slurm", {"-o", job_, "--job-name", "A b"}, path);
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(ended.out, "Submitted batch job 7 from " + job_ + ": a-b.sbatch\n");

  const common::Json json = json_of(submit("slurm", {"-o", job_, "--json"}, path));
  EXPECT_EQ(json["submitted"], true);
  EXPECT_THAT(json["output"].get<std::string>(), StartsWith("Submitted batch job 7"));
  EXPECT_EQ(json["folder"], job_);
  EXPECT_EQ(json["nodes"], 2);
  EXPECT_EQ(json["ranks_per_node"], 2);
  EXPECT_EQ(json["command"][0], "sbatch");
}

TEST_F(SubmitCommand, SaysWhichClientIsMissingAndLeavesTheFiles) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> clients = {
      {"sbatch", {"slurm"}},
      {"kubectl", {"kubernetes", "--image", "i", "--storage-path", "/s"}},
      {"ray", {"ray", "--storage-path", "/s"}},
      {"anyscale", {"ray", "--storage-path", "/s", "--anyscale"}},
      {"ssh", {"ssh", "--hosts", "a,b"}}};
  for (const auto& [client, flags] : clients) {
    std::vector<std::string> more(flags.begin() + 1, flags.end());
    more.insert(more.end(), {"-o", job_});
    const Ended ended = submit(flags.front(), more, {{"PATH", programs_}});
    EXPECT_EQ(ended.exit_code, 5) << ended.err;
    EXPECT_EQ(ended.out, "");
    EXPECT_THAT(ended.err, AllOf(HasSubstr(client + ": is not in PATH, so nothing is submitted"),
                                 HasSubstr("cd " + job_ + " && ")));
  }
}

TEST_F(SubmitCommand, ReportsAClientThatRefuses) {
  const Variables path = only("sbatch", "echo 'sbatch: error: no such partition' >&2; exit 1");
  const Ended ended = submit("slurm", {"-o", job_}, path);
  EXPECT_EQ(ended.exit_code, 5);
  EXPECT_THAT(ended.err, AllOf(HasSubstr("no such partition"), HasSubstr("exit code 1")));
}

TEST_F(SubmitCommand, ChecksTheFlagsOfTheRunHereAndNotInTheQueue) {
  EXPECT_EQ(submit("slurm", {"--dry-run", "--stepz", "3"}).exit_code, 2);
  EXPECT_EQ(submit("slurm", {"--dry-run", "--experiment-name", "a/b"}).exit_code, 2);
  EXPECT_EQ(meshplan({"submit", plan_, "--to", "slurm", "--dry-run"}).exit_code, 2);
  const Ended far = meshplan({"submit", plan_, "--to", "ray", "--dry-run", "--data", "text"});
  EXPECT_EQ(far.exit_code, 3);
  EXPECT_THAT(far.err, HasSubstr("--data: 'text': must be a path from the root, as the nodes of a "
                                 "ray job find it"));
}

TEST_F(SubmitCommand, RefusesWhatIsOfAnotherTarget) {
  const Ended ended = submit("ssh", {"--dry-run", "--hosts", "a,b", "--partition", "gpu"});
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_THAT(ended.err, HasSubstr("--partition is for --to slurm, not for --to ssh"));
  const Ended unknown = submit("lsf", {"--dry-run"});
  EXPECT_EQ(unknown.exit_code, 3);
  EXPECT_THAT(unknown.err, HasSubstr("unknown target 'lsf'; use slurm, kubernetes, ray, ssh"));
}

TEST_F(SubmitCommand, ReadsTimesInTheUsualForms) {
  for (const auto& [text, written] :
       std::vector<std::pair<std::string, std::string>>{{"90m", "01:30:00"},
                                                        {"36h", "1-12:00:00"},
                                                        {"2d", "2-00:00:00"},
                                                        {"00:10:30", "00:10:30"},
                                                        {"3-00:00:00", "3-00:00:00"}}) {
    EXPECT_THAT(submit("slurm", {"--dry-run", "--time-limit", text}).out,
                HasSubstr("#SBATCH --time=" + written + "\n"));
  }
  for (const std::string text : {"30", "1:2", "h", "-5m", "1h30m", "12:60:00", "1e3s", "99999999s",
                                 "24:00:00:00", "1-", ""}) {
    if (text.empty()) continue;
    const Ended ended = submit("slurm", {"--dry-run", "--time-limit=" + text});
    EXPECT_EQ(ended.exit_code, 3) << text;
    EXPECT_THAT(ended.err, HasSubstr("must be like 90s, 30m")) << text;
  }
}

TEST_F(SubmitCommand, PassesVariablesOfTheClusterAndOfTheUserOn) {
  const Ended ended = submit("slurm", {"--dry-run", "--env", "NCCL_DEBUG=INFO", "--env", "EMPTY="});
  EXPECT_THAT(ended.out, AllOf(HasSubstr("export NCCL_DEBUG=INFO\nexport EMPTY=''\n")));
  EXPECT_EQ(submit("slurm", {"--dry-run", "--env", "NAME"}).exit_code, 2);
  const Ended launcher = submit("slurm", {"--dry-run", "--env", "RANK=3"});
  EXPECT_EQ(launcher.exit_code, 3);
  EXPECT_THAT(launcher.err, HasSubstr("variable RANK: is set by what starts the ranks"));
}

TEST_F(SubmitCommand, PrintsOneJsonObject) {
  const common::Json json = json_of(submit("ray", {"--dry-run", "--json", "--storage-path", "/s"}));
  EXPECT_EQ(json["target"], "ray");
  EXPECT_EQ(json["submitted"], false);
  EXPECT_TRUE(json["folder"].is_null());
  ASSERT_EQ(json["files"].size(), 3U);
  EXPECT_EQ(json["files"][0]["name"], "job.yaml");
  EXPECT_EQ(json["files"][2]["name"], "plan.json");
}

}  // namespace
}  // namespace meshplan::tests
