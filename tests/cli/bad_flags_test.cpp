// Every flag of plan, estimate and what-if with values that it must not have: the message names the
// flag or field and what is allowed, the exit code is that of wrong usage or of invalid input.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/cli/running.h"

namespace meshplan::tests {
namespace {

using testing::HasSubstr;

constexpr int kUsage = 2;
constexpr int kInvalid = 3;

struct BadFlag {
  const char* flag;
  const char* value;
  int exit_code;
  /// What the message names, and what it allows.
  const char* names;
  const char* allows;
};

Ended run_with(const std::string& command, const std::vector<std::string>& flags) {
  std::vector<std::string> all = {command};
  const auto add_unless_given = [&](const char* flag, const char* value) {
    if (std::find(flags.begin(), flags.end(), flag) != flags.end()) return;
    all.push_back(flag);
    all.push_back(value);
  };
  add_unless_given("--model", "demo-qwen2");
  add_unless_given("--cluster", "local-cpu");
  add_unless_given("--seq-length", "128");
  all.insert(all.end(), flags.begin(), flags.end());
  return meshplan(all);
}

void expect_refused(const std::string& command, const std::vector<BadFlag>& table) {
  for (const BadFlag& bad : table) {
    const Ended ended = run_with(command, {bad.flag, bad.value, "--json"});
    const std::string which = command + " " + bad.flag + " " + bad.value;
    EXPECT_EQ(ended.exit_code, bad.exit_code) << which << "\n" << ended.err;
    EXPECT_THAT(ended.err, HasSubstr(bad.names)) << which;
    EXPECT_THAT(ended.err, HasSubstr(bad.allows)) << which;
    EXPECT_TRUE(json_of(ended).is_object()) << which;
  }
}

/// Of model, cluster, job and layout, which all three commands have.
const std::vector<BadFlag> kShared = {
    {"--model", "no-such-model", kInvalid, "no-such-model", "llama-3-8b"},
    {"--cluster", "no-such-cluster", kInvalid, "no-such-cluster", "h100-sxm"},
    {"--nodes", "0", kInvalid, "nodes=0", "from 1 to 1000000"},
    {"--nodes", "1000001", kInvalid, "nodes=1000001", "from 1 to 1000000"},
    {"--nodes", "one", kUsage, "--nodes", "must be a number"},
    {"--nodes", "99999999999999999999", kInvalid, "--nodes: 99999999999999999999",
     "beyond 64 bits"},
    {"--seq-length", "99999999999999999999", kInvalid, "--seq-length", "beyond 64 bits"},
    {"--gpus-per-node", "0", kInvalid, "gpus_per_node=0", "from 1 to 1024"},
    {"--gpus-per-node", "1025", kInvalid, "gpus_per_node=1025", "from 1 to 1024"},
    {"--network", "string", kInvalid, "'string'", "roce-400-per-gpu"},
    {"--gpu-price", "0", kInvalid, "gpu_price=0", "above 0 and at most 1000000"},
    {"--gpu-price", "nan", kInvalid, "gpu_price=nan", "above 0 and at most 1000000"},
    {"--gpu-price", "much", kUsage, "--gpu-price", "much"},
    {"--param-dtype", "float7", kUsage, "--param-dtype", "bfloat16"},
    {"--reduce-dtype", "float7", kUsage, "--reduce-dtype", "float32"},
    {"--master-dtype", "float7", kUsage, "--master-dtype", "float32"},
    {"--loss-normalization", "none", kUsage, "--loss-normalization", "global_tokens"},
    {"--max-grad-norm", "-1", kUsage, "--max-grad-norm", "at least 0"},
    {"--max-grad-norm", "inf", kUsage, "--max-grad-norm", "at least 0"},
    {"--decay-norms-and-biases", "yes", kUsage, "--decay-norms-and-biases", "on or off"},
    {"--sharding", "half", kUsage, "--sharding", "full_shard"},
    {"--sequence-parallel", "yes", kUsage, "--sequence-parallel", "on or off"},
    {"--activation-checkpointing", "some", kUsage, "--activation-checkpointing", "selective"},
    {"--gradient-accumulation", "some", kUsage, "--gradient-accumulation", "unsharded"},
};

TEST(BadFlags, OfAnEstimateAreRefused) {
  expect_refused("estimate", kShared);
  expect_refused(
      "estimate",
      {{"--seq-length", "0", kInvalid, "seq_length=0", "at least 1"},
       {"--seq-length", "1000000", kInvalid, "seq_length=1000000", "at most"},
       {"--microbatch-size", "0", kInvalid, "microbatch_size=0", "at least 1"},
       {"--accumulation", "0", kInvalid, "accumulation=0", "at least 1"},
       {"--accumulation", "9999999", kInvalid, "accumulation=9999999", "at most 1048576"},
       {"--loss-chunks", "0", kInvalid, "loss_chunks=0", "at least 1"},
       {"--loss-chunks", "9999", kInvalid, "loss_chunks=9999", "at most"},
       {"--checkpointed-blocks", "-1", kInvalid, "checkpointed_blocks=-1", "from 0 to"},
       {"--blocks-kept-gathered", "999", kInvalid, "blocks_kept_gathered=999", "from 0 to"},
       {"--prefetch-depth", "4", kInvalid, "prefetch_depth=4", "from 0 to 3"},
       {"--tp", "0", kInvalid, "tp=0", "at least 1"},
       {"--tp", "3", kInvalid, "tp=3", "use 1, 2 or 4"},
       {"--tp", "automatic", kUsage, "--tp", "automatic"},
       {"--dp-shard", "-1", kInvalid, "dp_shard=-1", "at least 1"},
       {"--dp-replicate", "7", kInvalid, "dp_replicate=7", "must equal the cluster's"},
       {"--cp", "0", kInvalid, "cp=0", "at least 1"},
       {"--pp", "1000", kInvalid, "pp=1000", "use at most num_hidden_layers"},
       {"--runtime", "abacus", kUsage, "--runtime", "torch_compile"}});
}

TEST(BadFlags, OfAPlanAreRefused) {
  expect_refused("plan", kShared);
  expect_refused(
      "plan",
      {{"--tp", "3", kInvalid, "tp=3", "the cluster's 1 node x 4 devices = 4; use 1, 2 or 4"},
       {"--tp", "1,99999999999999999999", kInvalid, "--tp", "beyond 64 bits"},
       {"--microbatch-size", "99999999999999999999", kInvalid, "--microbatch-size",
        "beyond 64 bits"},
       {"--dp-shard", "0", kInvalid, "dp_shard=0", "must divide the cluster's"},
       {"--dp-replicate", "-2", kInvalid, "dp_replicate=-2", "must divide"},
       {"--pp", "3", kInvalid, "pp=3", "must divide"},
       {"--cp", "3", kInvalid, "cp=3", "must divide"},
       {"--tp", "1,many", kUsage, "--tp", "many"},
       {"--microbatch-size", "0", kInvalid, "microbatch_size", "at least 1"},
       {"--microbatch-size", "many", kUsage, "--microbatch-size", "a number or auto"},
       {"--global-batch-size", "0", kInvalid, "global_batch_size", "at least 1"},
       {"--loss-chunks", "-1", kInvalid, "loss_chunks", "at least 1"},
       {"--objective", "beauty", kUsage, "--objective", "cost or energy"},
       {"--objective", "cost", kInvalid, "objective=cost", "--gpu-price"},
       {"--top", "0", kUsage, "--top", "0"}});
}

TEST(BadFlags, OfWhatIfAreRefused) {
  expect_refused("what-if", {{"--vary", "nodes=0", kInvalid, "nodes=0", "from 1 to 1000000"},
                             {"--vary", "seq-length=1:9:x0", kInvalid, "'x0'", "a factor above 1"},
                             {"--vary", "tp=1,2", kInvalid, "'tp'", "gpus-per-node"},
                             {"--vary", "nodes", kInvalid, "'nodes'", "nodes=1,2,4"}});
}

TEST(BadFlags, AreAllSaidAtOnce) {
  const Ended ended = run_with(
      "estimate", {"--tp", "3", "--dp-shard", "0", "--seq-length", "1000000", "--accumulation",
                   "-1", "--blocks-kept-gathered", "999", "--checkpointed-blocks", "99", "--json"});
  EXPECT_EQ(ended.exit_code, kInvalid);
  for (const char* part :
       {"tp=3: must divide num_key_value_heads=4; use 1, 2 or 4", "dp_shard=0: must be at least 1",
        "seq_length=1000000: at most", "accumulation=-1: must be at least 1",
        "blocks_kept_gathered=999: must be from 0", "checkpointed_blocks=99: must be from 0"}) {
    EXPECT_THAT(ended.err, HasSubstr(part));
  }
  EXPECT_GE(json_of(ended)["violations"].size(), 6U);
  const Ended inputs = run_with("plan", {"--model", "no-such-model", "--nodes", "0",
                                         "--gpus-per-node", "5000", "--network", "string"});
  EXPECT_EQ(inputs.exit_code, kInvalid);
  for (const char* part : {"no-such-model", "nodes=0", "gpus_per_node=5000", "'string'"})
    EXPECT_THAT(inputs.err, HasSubstr(part));
}

}  // namespace
}  // namespace meshplan::tests
