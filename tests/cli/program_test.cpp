#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "tests/cli/running.h"

namespace meshplan::tests {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(Program, StartsItsHelpWithExamples) {
  const Ended help = meshplan({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_LT(help.out.find("Examples:"), help.out.find("Usage:"));
  for (const char* subcommand : {"plan", "estimate", "simulate", "train", "compare", "calibrate",
                                 "catalog", "what-if", "goodput", "submit", "export"}) {
    EXPECT_THAT(help.out, HasSubstr(std::string("\n  ") + subcommand + " "));
    const Ended own = meshplan({subcommand, "--help"});
    EXPECT_EQ(own.exit_code, 0);
    EXPECT_LT(own.out.find("Examples:\n  meshplan " + std::string(subcommand)),
              own.out.find("Usage:"))
        << own.out;
    EXPECT_EQ(own.err, "");
  }
}

TEST(Program, NamesItsVersion) {
  const Ended version = meshplan({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.out, StartsWith("meshplan 0."));
}

TEST(Program, RefusesWrongUsageWithASuggestion) {
  const Ended none = meshplan({});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_THAT(none.err, HasSubstr("see meshplan --help"));
  const Ended subcommand = meshplan({"simulat", "plan.json"});
  EXPECT_EQ(subcommand.exit_code, 2);
  EXPECT_THAT(subcommand.err, HasSubstr("simulat; did you mean simulate?"));
  const Ended flag = meshplan({"estimate", "--seq-lenght", "8"});
  EXPECT_EQ(flag.exit_code, 2);
  EXPECT_THAT(flag.err, HasSubstr("--seq-lenght; did you mean --seq-length?"));
  const Ended value = meshplan({"estimate", "--sharding", "most"});
  EXPECT_EQ(value.exit_code, 2);
  EXPECT_THAT(value.err, HasSubstr("full_shard"));
  EXPECT_EQ(flag.out + value.out + none.out, "");
}

TEST(Program, TakesUnderscoresForHyphensInFlagsAlone) {
  const Ended ended =
      meshplan({"estimate", "--model", "demo-qwen2", "--cluster=local-cpu", "--seq_length=128",
                "--dp_shard", "4", "--activation_checkpointing", "none", "--json"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const Ended value = meshplan(
      {"estimate", "--model=no_such_model", "--cluster", "local-cpu", "--seq-length", "8"});
  EXPECT_THAT(value.err, HasSubstr("'no_such_model'"));
}

TEST(Program, SaysErrorsAsJsonWhereJsonWasAskedFor) {
  const Ended ended = meshplan(
      {"plan", "--model", "none", "--cluster", "local-cpu", "--seq-length", "8", "--json"});
  EXPECT_EQ(ended.exit_code, 3);
  const common::Json json = json_of(ended);
  EXPECT_EQ(json["error"]["code"], "invalid_input");
  EXPECT_THAT(json["error"]["message"].get<std::string>(), HasSubstr("the catalog has"));
  EXPECT_THAT(ended.err, StartsWith("meshplan plan: model: 'none'"));
}

TEST(Program, ListsTheCatalog) {
  const Ended all = meshplan({"catalog"});
  for (const char* name : {"llama-3.1-405b", "gpt-3-175b", "local-cpu", "h100-sxm", "efa-3200"})
    EXPECT_THAT(all.out, HasSubstr(name));
  EXPECT_THAT(meshplan({"catalog", "networks"}).out, Not(HasSubstr("h100-sxm")));
  const common::Json gpus = json_of(meshplan({"catalog", "gpus", "--json"}));
  EXPECT_EQ(gpus["gpus"].size(), 10u);
  EXPECT_EQ(gpus["gpus"][0]["name"], "a100-40gb-sxm");
  const common::Json models = json_of(meshplan({"catalog", "models", "--json"}));
  EXPECT_EQ(models["schema_version"], 1);
  EXPECT_FALSE(models.contains("clusters"));
  EXPECT_EQ(models["models"][0]["name"], "demo-qwen2");
  EXPECT_EQ(models["models"][0]["config"]["hidden_size"], 256);
}

TEST(Program, LinksNeitherTorchNorQt) {
  const Ended libraries = Running({"/usr/bin/ldd", MESHPLAN_PROGRAM}, {}).wait();
  ASSERT_EQ(libraries.exit_code, 0) << libraries.err;
  EXPECT_THAT(libraries.out, HasSubstr("libc."));
  // Addresses are in the text as well, and have "c10" in them now and then.
  for (const char* room : {"libtorch", "libc10", "cuda", "nccl", "Qt"})
    EXPECT_THAT(libraries.out, Not(HasSubstr(room)));
}

double median_seconds(const std::vector<std::string>& arguments) {
  std::array<double, 5> seconds{};
  for (double& time : seconds) {
    const Ended ended = meshplan(arguments);
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    time = ended.seconds;
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

TEST(Program, AnswersWithin50Milliseconds) {
  const double plan = median_seconds({"plan", "--model", "llama-3-70b", "--cluster", "h100-sxm",
                                      "--nodes", "16", "--seq-length", "8192", "--json"});
  const double estimate =
      median_seconds({"estimate", "--model", "llama-3-70b", "--cluster", "h100-sxm", "--nodes",
                      "16", "--seq-length", "8192", "--dp-shard", "16", "--tp", "8"});
  std::printf("median of 5: plan %.1f ms, estimate %.1f ms; limit 50 ms\n", plan * 1e3,
              estimate * 1e3);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(plan, 0.050);
  EXPECT_LT(estimate, 0.050);
#endif
}

}  // namespace
}  // namespace meshplan::tests
