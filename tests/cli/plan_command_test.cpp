#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/file.h"
#include "planner/plan/plan.h"
#include "tests/cli/running.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::tests {
namespace {

using testing::HasSubstr;

Ended plan(std::vector<std::string> flags) {
  flags.insert(flags.begin(),
               {"plan", "--model", "demo-qwen2", "--cluster", "local-cpu", "--seq-length", "128"});
  return meshplan(flags);
}

std::string content_of(const std::filesystem::path& path) {
  return common::read_file(path, common::Bytes(1 << 24));
}

TEST(PlanCommand, PrintsTheRankingAndTheMesh) {
  const Ended ended = plan({"--microbatch-size", "2", "--dp-shard", "2", "--tp", "2"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("tokens/s/rank"));
  EXPECT_THAT(ended.out, HasSubstr("dp 0 |   0     1 |  node 0\n"));
  EXPECT_THAT(ended.out, HasSubstr("tp: activations of one forward pass of a microbatch"));
  EXPECT_THAT(ended.out, HasSubstr("fsdp: one gather of the whole model"));
  EXPECT_EQ(ended.err, "");
}

TEST(PlanCommand, RanksAllMeshesInOneObject) {
  const common::Json json = json_of(plan({"--microbatch-size", "1", "--top", "3", "--json"}));
  EXPECT_EQ(json["schema_version"], 1);
  EXPECT_EQ(json["fit"], 6) << "dp_replicate x dp_shard x tp = 4";
  ASSERT_EQ(json["ranked"].size(), 3U);
  double best = 1e30;
  for (const common::Json& candidate : json["ranked"]) {
    EXPECT_LE(candidate["estimate"]["tokens_per_second_per_gpu"], best);
    best = candidate["estimate"]["tokens_per_second_per_gpu"];
  }
  EXPECT_TRUE(json["plan"].is_null());
}

TEST(PlanCommand, TakesBfloat16OnGpusAndFloat32OnCpus) {
  EXPECT_EQ(json_of(plan({"--json"}))["job"]["param_dtype"], "float32");
  const Ended gpu = meshplan(
      {"plan", "--model", "llama-3-8b", "--cluster", "h100-sxm", "--seq-length", "512", "--json"});
  EXPECT_EQ(json_of(gpu)["job"]["param_dtype"], "bfloat16");
}

TEST(PlanCommand, WritesAPlanThatIsReadBackIdentically) {
  const TemporaryFolder folder;
  const std::string file = folder / "plan.json";
  const Ended ended = plan({"--microbatch-size", "2", "--dp-shard", "2", "--tp", "2",
                            "--max-grad-norm", "0.1", "-o", file});
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("wrote " + file));
  const planner::Plan read = planner::load_plan(file);
  EXPECT_EQ(read.model_source, "demo-qwen2");
  EXPECT_EQ(read.job.max_grad_norm, 0.1);
  planner::save_plan(read, folder / "again.json");
  EXPECT_EQ(content_of(folder / "again.json"), content_of(file));

  const Ended simulated = meshplan({"simulate", file, "--trace", folder / "trace.json", "--json"});
  EXPECT_EQ(simulated.exit_code, 0) << simulated.err;
  EXPECT_GT(json_of(simulated)["step_time_s"], 0);
  EXPECT_TRUE(common::read_json_file(folder / "trace.json").contains("traceEvents"));
  EXPECT_THAT(meshplan({"simulate", file}).out, HasSubstr("exposed tp"));
}

TEST(PlanCommand, KeepsTheAbsolutePathOfAModelFolder) {
  const TemporaryFolder folder;
  common::write_file(folder / "config.json", to_json(planner::load_model("demo-qwen2")).dump());
  for (const std::string& model :
       {folder.path().string(), folder.path().string() + "/", (folder / "config.json").string()}) {
    const Ended ended = meshplan(
        {"plan", "--model", model, "--cluster", "local-cpu", "--seq-length", "64", "--json"});
    EXPECT_EQ(json_of(ended)["model_source"], folder.path().string());
  }
}

TEST(PlanCommand, EndsWith4AndReasonsWhereNothingFits) {
  const TemporaryFolder folder;
  const std::string file = folder / "plan.json";
  const Ended ended = meshplan({"plan", "--model", "llama-3-70b", "--cluster", "local-cpu",
                                "--seq-length", "128", "--json", "-o", file});
  EXPECT_EQ(ended.exit_code, 4);
  EXPECT_THAT(ended.err, HasSubstr("no layout fits"));
  EXPECT_THAT(ended.err, HasSubstr("of 4.00 GiB"));
  const common::Json json = json_of(ended);
  EXPECT_EQ(json["ranked"].size(), 0U);
  EXPECT_EQ(json["rejected"].size(), 6U);
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST(PlanCommand, SaysWhyALayoutIsRejected) {
  const Ended ended =
      meshplan({"plan", "--model", "demo-qwen2", "--cluster", "local-cpu", "--gpus-per-node", "6",
                "--seq-length", "64", "--microbatch-size", "1"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("tp=3: must divide num_key_value_heads=4; use 1, 2 or 4"));
}

TEST(PlanCommand, RefusesSizesThatNoMeshOfTheClusterHas) {
  const Ended size = plan({"--tp", "1,3"});
  EXPECT_EQ(size.exit_code, 3);
  EXPECT_THAT(size.err,
              HasSubstr("tp=3: must divide the cluster's 1 node x 4 devices = 4; use 1, 2 or 4"));
  const Ended product = plan({"--tp", "4", "--dp-shard", "4"});
  EXPECT_EQ(product.exit_code, 4);
  EXPECT_THAT(product.err, HasSubstr("no mesh of 4 ranks"));
}

TEST(PlanCommand, LetsTheGlobalBatchChooseTheAccumulation) {
  const common::Json json = json_of(plan({"--global-batch-size", "16", "--microbatch-size", "2",
                                          "--tp", "2", "--dp-shard", "2", "--json"}));
  EXPECT_EQ(json["ranked"][0]["layout"]["accumulation"], 4);
  EXPECT_EQ(plan({"--global-batch-size", "16", "--accumulation", "2"}).exit_code, 2);
  EXPECT_EQ(plan({"--microbatch-size", "many"}).exit_code, 2);
}

Ended plan_on_h100(std::vector<std::string> flags) {
  flags.insert(flags.begin(), {"plan", "--model", "llama-3-8b", "--cluster", "h100-sxm", "--nodes",
                               "2", "--seq-length", "4096"});
  return meshplan(flags);
}

TEST(PlanCommand, ExplainsItsChoice) {
  const Ended ended = plan_on_h100({"--explain"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  for (const char* part : {"The best by throughput: tp=", "What bounds it: ", "Number 2, ",
                           "TP against FSDP: ", "first-order formulas", "TP across nodes: "}) {
    EXPECT_THAT(ended.out, HasSubstr(part));
  }
  const common::Json json = json_of(plan_on_h100({"--explain", "--json"}));
  EXPECT_THAT(ended.out, HasSubstr(json["explanation"]["text"].get<std::string>()));
  EXPECT_FALSE(json_of(plan_on_h100({"--json"})).contains("explanation"));
}

TEST(PlanCommand, PrintsTheFrontierOfTimeAndMemory) {
  EXPECT_THAT(plan_on_h100({"--pareto"}).out, HasSubstr("nothing is faster with as little memory"));
  const common::Json json = json_of(plan_on_h100({"--pareto", "--top", "1", "--json"}));
  ASSERT_GT(json["pareto"].size(), 1U);
  EXPECT_EQ(json["pareto"][0]["rank"], 1);
  EXPECT_EQ(json["pareto"][0]["layout"], json["ranked"][0]["layout"]);
  for (std::size_t i = 1; i < json["pareto"].size(); ++i) {
    EXPECT_LT(json["pareto"][i]["estimate"]["memory"]["peak_device_bytes"],
              json["pareto"][i - 1]["estimate"]["memory"]["peak_device_bytes"]);
  }
}

TEST(PlanCommand, RanksByMoneyAndEnergyWhereTheyAreKnown) {
  for (const char* objective : {"cost", "energy"}) {
    const Ended ended = plan_on_h100({"--objective", objective, "--json"});
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    EXPECT_EQ(json_of(ended)["objective"], objective);
    const Ended unknown = plan({"--objective", objective});
    EXPECT_EQ(unknown.exit_code, 3);
    EXPECT_THAT(unknown.err, HasSubstr(std::string("objective=") + objective));
  }
  EXPECT_THAT(plan_on_h100({}).out, HasSubstr("price/Mtoken  kWh/Mtoken"));
  EXPECT_EQ(plan({"--objective", "cost", "--gpu-price", "0.1"}).exit_code, 0);
  EXPECT_EQ(plan({"--gpu-price", "-1"}).exit_code, 3);
}

TEST(PlanCommand, TakesAutomaticSizesFromTheCluster) {
  const common::Json json = json_of(plan_on_h100({"--tp", "auto", "--dp-shard", "auto", "--json"}));
  ASSERT_FALSE(json["ranked"].empty());
  for (const common::Json& candidate : json["ranked"]) {
    EXPECT_EQ(candidate["layout"]["tp"], 8);
    EXPECT_EQ(candidate["layout"]["dp_shard"], 2);
  }
}

/// Sums of counts; the best is a plan that can be written and estimated again.
TEST(PlanCommand, SearchesEveryChoice) {
  const std::vector<std::string> command = {"plan",       "--model",
                                            "llama-3-8b", "--cluster",
                                            "h100-sxm",   "--nodes",
                                            "2",          "--seq-length",
                                            "8192",       "--global-batch-size",
                                            "64",         "--every-choice",
                                            "--top",      "3",
                                            "--json"};
  const Ended ended = meshplan(command);
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const common::Json json = json_of(ended);
  EXPECT_EQ(json["ranked"].size(), 3u);
  std::int64_t rejected = 0;
  for (const common::Json& rejection : json["rejected"])
    rejected += rejection["count"].get<std::int64_t>();
  EXPECT_EQ(json["fit"].get<std::int64_t>() + json["slower"].get<std::int64_t>() + rejected,
            json["considered"].get<std::int64_t>());
  EXPECT_LE(json["ranked"][0]["estimate"]["step_time_s"],
            json["ranked"][1]["estimate"]["step_time_s"]);
  std::vector<std::string> by_memory = command;
  by_memory.insert(by_memory.end(), {"--objective", "memory"});
  EXPECT_EQ(meshplan(by_memory).exit_code, 2);
}

}  // namespace
}  // namespace meshplan::tests
