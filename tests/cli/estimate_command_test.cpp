#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/file.h"
#include "tests/cli/running.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::tests {
namespace {

using testing::HasSubstr;

Ended estimate(std::vector<std::string> flags, const std::string& model = "demo-qwen2") {
  flags.insert(flags.begin(),
               {"estimate", "--model", model, "--cluster", "local-cpu", "--seq-length", "128"});
  return meshplan(flags);
}

TEST(EstimateCommand, PrintsTheContractsKeys) {
  const Ended ended =
      estimate({"--dp-shard", "2", "--tp", "2", "--microbatch-size", "2", "--json"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const common::Json json = json_of(ended);
  EXPECT_EQ(json["schema_version"], 1);
  EXPECT_EQ(json["valid"], true);
  EXPECT_EQ(json["fits"], true);
  for (const char* key :
       {"peak_allocated_bytes", "peak_reserved_bytes", "peak_device_bytes", "capacity_bytes"}) {
    EXPECT_GT(json["memory"][key], 0) << key;
  }
  for (const char* axis : {"tp", "dp_shard", "dp_replicate", "cp", "pp"}) {
    EXPECT_TRUE(json["communication"][axis].contains("wire_bytes_per_rank")) << axis;
  }
  EXPECT_GT(json["communication"]["tp"]["bytes_per_rank"], 0);
  EXPECT_GT(json["step_time_s"], 0);
  EXPECT_GT(json["mfu"], 0);
}

TEST(EstimateCommand, PrintsTables) {
  const Ended ended = estimate({"--dp-shard", "2", "--tp", "2"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  for (const char* part :
       {"tokens/s/rank", "gathered_parameters", "peak of the device", "dp_shard", "first order"}) {
    EXPECT_THAT(ended.out, HasSubstr(part));
  }
  EXPECT_EQ(ended.err, "");
}

TEST(EstimateCommand, PricesWhatOnlyThePlannerHas) {
  const Ended ended = meshplan({"estimate",   "--model",
                                "llama-3-8b", "--cluster",
                                "h100-sxm",   "--seq-length",
                                "4096",       "--dp-shard",
                                "2",          "--tp",
                                "2",          "--pp",
                                "2",          "--virtual-stages",
                                "4",          "--accumulation",
                                "4",          "--matmul-dtype",
                                "float8",     "--moment-dtype",
                                "bfloat16",   "--async-tp",
                                "on",         "--optimizer-offload",
                                "on",         "--json"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const common::Json json = json_of(ended);
  EXPECT_GT(json["memory"]["host_memory_bytes"], 0);
  EXPECT_EQ(json["memory"]["breakdown"]["optimizer"], 0);
  // A stage sends over four borders one way and over three the other, for each microbatch.
  EXPECT_EQ(json["communication"]["pp"]["operations"], 4 * 7 + 1);
}

TEST(EstimateCommand, SaysEveryRuleThatALayoutBreaks) {
  const Ended ended = estimate({"--dp-shard", "2", "--tp", "3", "--json"});
  EXPECT_EQ(ended.exit_code, 3);
  const common::Json json = json_of(ended);
  EXPECT_EQ(json["valid"], false);
  EXPECT_EQ(json["violations"][0]["code"], "tp_divides_num_key_value_heads");
  EXPECT_THAT(ended.err, HasSubstr("tp=3: must divide num_key_value_heads=4; use 1, 2 or 4"));
  EXPECT_THAT(
      ended.err,
      HasSubstr(
          "dp_replicate=1 x dp_shard=2 x tp=3 = 6: must equal the cluster's 1 node x 4 devices"));
}

TEST(EstimateCommand, RefusesAWorldSizeThatIsNotTheClusters) {
  const Ended ended = estimate({"--dp-shard", "8", "--json"});
  EXPECT_EQ(ended.exit_code, 3);
  EXPECT_EQ(json_of(ended)["violations"][0]["code"], "world_size");
}

TEST(EstimateCommand, SurvivesSizesBeyondReason) {
  for (const char* flag : {"--tp", "--dp-shard", "--ep", "--microbatch-size", "--accumulation",
                           "--loss-chunks", "--virtual-stages"}) {
    for (const char* size : {"0", "-1", "9223372036854775807"}) {
      const Ended ended = estimate({flag, size, "--json"});
      EXPECT_EQ(ended.exit_code, 3) << flag << " " << size << ": " << ended.err;
      EXPECT_EQ(json_of(ended)["valid"], false);
    }
  }
  EXPECT_EQ(estimate({"--nodes", "0"}).exit_code, 3);
  EXPECT_EQ(estimate({"--gpus-per-node", "1000000"}).exit_code, 3);
  EXPECT_EQ(estimate({"--tp", "99999999999999999999"}).exit_code, 3);
  EXPECT_EQ(estimate({"--tp", "two"}).exit_code, 2);
  EXPECT_EQ(estimate({"--max-grad-norm", "nan"}).exit_code, 2);
}

TEST(EstimateCommand, PricesWhatDoesNotFit) {
  const Ended ended = estimate({"--dp-shard", "4", "--json"}, "llama-3-8b");
  EXPECT_EQ(ended.exit_code, 4);
  const common::Json json = json_of(ended);
  EXPECT_EQ(json["valid"], true);
  EXPECT_EQ(json["fits"], false);
  EXPECT_GT(json["memory"]["peak_device_bytes"], json["memory"]["capacity_bytes"]);
  EXPECT_THAT(ended.err, HasSubstr("of 4.00 GiB"));
}

Ended estimate_on_h100(std::vector<std::string> flags) {
  flags.insert(flags.begin(), {"estimate", "--model", "llama-3-8b", "--cluster", "h100-sxm",
                               "--seq-length", "8192", "--nodes", "2"});
  return meshplan(flags);
}

TEST(EstimateCommand, PredictsOtherRuntimesRuns) {
  for (const char* runtime : {"torch_eager", "torch_compile"}) {
    const Ended ended = estimate_on_h100({"--dp-shard", "16", "--runtime", runtime,
                                          "--activation-checkpointing", "selective", "--json"});
    EXPECT_EQ(ended.exit_code, 0) << ended.err;
    const common::Json json = json_of(ended);
    EXPECT_EQ(json["runtime"], runtime);
    EXPECT_EQ(json["valid"], true);
    EXPECT_GT(json["tokens_per_second_per_gpu"], 1000);
    EXPECT_LT(json["tokens_per_second_per_gpu"], 12000);
  }
  const Ended table = estimate_on_h100(
      {"--dp-shard", "2", "--tp", "8", "--sharding", "shard_optimizer", "--runtime", "megatron"});
  EXPECT_EQ(table.exit_code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("step under megatron"));
  const Ended large =
      estimate_on_h100({"--dp-shard", "16", "--microbatch-size", "64", "--runtime", "torch_eager"});
  EXPECT_EQ(large.exit_code, 4);
  EXPECT_THAT(large.err, HasSubstr("does not fit: torch_eager reserves"));
}

TEST(EstimateCommand, PricesMixturesOfExperts) {
  const auto mixtral = [](std::vector<std::string> flags) {
    flags.insert(flags.begin(),
                 {"estimate", "--model", "mixtral-8x7b-v0.1", "--cluster", "h100-sxm", "--nodes",
                  "8", "--seq-length", "4096", "--dp-shard", "64"});
    return meshplan(flags);
  };
  const Ended ended = mixtral({"--expert-parallel", "8", "--json"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const common::Json json = json_of(ended);
  EXPECT_GT(json["communication"]["ep"]["bytes_per_rank"], 0);
  EXPECT_GT(json["communication"]["expert_shard"]["bytes_per_rank"], 0);
  EXPECT_FALSE(json_of(mixtral({"--json"}))["communication"].contains("ep"));
  EXPECT_THAT(mixtral({"--ep", "3"}).err,
              HasSubstr("expert_parallel=3: must divide num_experts=8; use 1, 2, 4 or 8"));
}

TEST(EstimateCommand, RefusesWhatARuntimeLacksByName) {
  const Ended ended = estimate({"--dp-shard", "4", "--runtime", "megatron", "--json"});
  EXPECT_EQ(ended.exit_code, 3);
  EXPECT_THAT(ended.err, HasSubstr("runtime=megatron: has no sharding=full_shard; use "
                                   "shard_optimizer, no_shard"));
  EXPECT_THAT(ended.err, HasSubstr("runtime=megatron: device 'CPU rank': nothing was fitted"));
  EXPECT_EQ(json_of(ended)["violations"][0]["code"], "runtime_sharding");
  EXPECT_EQ(estimate({"--runtime", "abacus"}).exit_code, 2);
}

TEST(EstimateCommand, TakesAutomaticSizesFromTheCluster) {
  const Ended ended = estimate_on_h100({"--tp", "auto", "--dp-shard", "auto", "--json"});
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  const Ended given = estimate_on_h100({"--tp", "8", "--dp-shard", "2", "--json"});
  EXPECT_EQ(ended.out, given.out);
}

TEST(EstimateCommand, TellsTheCostWhereItIsKnown) {
  const common::Json unknown = json_of(estimate({"--dp-shard", "4", "--json"}));
  EXPECT_FALSE(unknown.contains("cost"));
  const common::Json json = json_of(estimate({"--dp-shard", "4", "--gpu-price", "0.36", "--json"}));
  const double rate = json["tokens_per_second_per_gpu"];
  EXPECT_DOUBLE_EQ(json["cost"]["price_per_million_tokens"], 0.36 * 1e6 / rate / 3600);
  EXPECT_FALSE(json["cost"].contains("kwh_per_million_tokens"));
  EXPECT_TRUE(json_of(estimate_on_h100({"--dp-shard", "16", "--json"}))["cost"].contains(
      "kwh_per_million_tokens"));
}

TEST(EstimateCommand, RefusesModelConfigsThatLackAFieldOrHaveAnotherType) {
  const TemporaryFolder folder;
  const auto config = [&](const std::string& hidden) {
    common::write_file(folder / "config.json",
                       R"({"model_type": "llama", )" + hidden +
                           R"("intermediate_size": 64, "num_hidden_layers": 2,
                                                       "num_attention_heads": 4, "vocab_size": 100})");
    return estimate({"--dp-shard", "4"}, folder.path());
  };
  EXPECT_EQ(config(R"("hidden_size": 32, )").exit_code, 0);
  const Ended missing = config("");
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_THAT(missing.err,
              HasSubstr((folder / "config.json").string() + ".hidden_size: is missing"));
  const Ended text = config(R"("hidden_size": "wide", )");
  EXPECT_EQ(text.exit_code, 3);
  EXPECT_THAT(text.err, HasSubstr("hidden_size: must be an integer"));
}

}  // namespace
}  // namespace meshplan::tests
