#include "planner/layout/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <functional>
#include <limits>

#include "planner/search/search.h"
#include "tests/planner/random_plans.h"

namespace meshplan::planner {
namespace {

constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();

/// A valid case, to be spoilt in one place.
struct Case {
  ModelSpec model = small_model(4);
  Job job = small_job();
  Layout layout = layout_of({.dp_shard = 2, .tp = 2});
};

std::vector<Violation> broken(const std::function<void(Case&)>& spoil) {
  Case c;
  spoil(c);
  return violations(c.model, c.job, c.layout);
}

/// What breaks exactly one rule.
struct Spoilt {
  const char* code;
  const char* message;
  std::function<void(Case&)> spoil;
};

void set_axis(Case& c, Axis axis, std::int64_t size) { c.layout.mesh.sizes[axis] = size; }

void set_stages(Case& c, std::int64_t pp, std::int64_t chunks) {
  set_axis(c, Axis::kPp, pp);
  c.layout.virtual_stages = chunks;
  c.layout.accumulation = pp;
}

const std::vector<Spoilt> kSizes = {
    {"size_positive", "dp_shard=0: must be at least 1",
     [](Case& c) { set_axis(c, Axis::kDpShard, 0); }},
    {"size_positive", "tp=-2: must be at least 1", [](Case& c) { set_axis(c, Axis::kTp, -2); }},
    {"size_positive", "microbatch_size=0: must be at least 1",
     [](Case& c) { c.layout.microbatch_size = 0; }},
    {"size_positive", "accumulation=-1: must be at least 1",
     [](Case& c) { c.layout.accumulation = -1; }},
    {"size_positive", "loss_chunks=0: must be at least 1",
     [](Case& c) { c.layout.loss_chunks = 0; }},
    {"size_positive", "seq_length=0: must be at least 1", [](Case& c) { c.job.seq_length = 0; }},
    {"world_size_bounded", "the product of the axes is beyond 2^31 ranks; use smaller axes",
     [](Case& c) { set_axis(c, Axis::kDpShard, std::int64_t{1} << 40); }},
    {"world_size_bounded", "the product of the axes is beyond 2^31 ranks; use smaller axes",
     [](Case& c) { set_axis(c, Axis::kDpReplicate, kHuge); }},
    {"accumulation_bounded", "accumulation=2000000: at most 1048576; use a larger microbatch",
     [](Case& c) { c.layout.accumulation = 2'000'000; }},
    {"loss_chunks_bounded", "loss_chunks=257: at most the 256 tokens of a microbatch",
     [](Case& c) { c.layout.loss_chunks = 257; }},
    {"loss_chunks_bounded", "loss_chunks=5000: at most 4096",
     [](Case& c) {
       c.layout.microbatch_size = 100;
       c.layout.loss_chunks = 5000;
     }},
    {"prefetch_depth_bounded", "prefetch_depth=4: must be from 0 to 3 units ahead",
     [](Case& c) { c.layout.prefetch_depth = 4; }},
    {"prefetch_depth_bounded", "prefetch_depth=-1: must be from 0 to 3 units ahead",
     [](Case& c) { c.layout.prefetch_depth = -1; }},
    {"blocks_kept_gathered_bounded",
     "blocks_kept_gathered=5: must be from 0 to num_hidden_layers=4",
     [](Case& c) { c.layout.blocks_kept_gathered = 5; }},
    {"blocks_kept_gathered_bounded",
     "blocks_kept_gathered=-1: must be from 0 to num_hidden_layers=4",
     [](Case& c) { c.layout.blocks_kept_gathered = -1; }},
    {"max_grad_norm_valid",
     "max_grad_norm=-0.5: must be a finite number of at least 0, where 0 is off",
     [](Case& c) { c.job.max_grad_norm = -0.5; }},
    {"max_grad_norm_valid",
     "max_grad_norm=nan: must be a finite number of at least 0, where 0 is off",
     [](Case& c) { c.job.max_grad_norm = std::numeric_limits<double>::quiet_NaN(); }},
};

const std::vector<Spoilt> kModel = {
    {"tp_divides_num_key_value_heads", "tp=8: must divide num_key_value_heads=4; use 1, 2 or 4",
     [](Case& c) { set_axis(c, Axis::kTp, 8); }},
    {"tp_divides_num_attention_heads", "tp=2: must divide num_attention_heads=7; use 1 or 7",
     [](Case& c) {
       c.model.num_key_value_heads = 0;
       c.model.num_attention_heads = 7;
     }},
    {"tp_divides_intermediate_size", "tp=2: must divide intermediate_size=25; use 1, 5 or 25",
     [](Case& c) { c.model.intermediate_size = 25; }},
    {"attention_heads_known",
     "the model has neither num_key_value_heads nor num_attention_heads, so tp cannot be checked "
     "against them; add num_attention_heads to its config.json",
     [](Case& c) {
       c.model.num_key_value_heads = 0;
       c.model.num_attention_heads = 0;
     }},
    {"seq_length_within_positions",
     "seq_length=5000: at most max_position_embeddings=4096; use less, or a config.json with more",
     [](Case& c) { c.job.seq_length = 5000; }},
};

const std::vector<Spoilt> kAxesOfModel = {
    {"pp_bounded", "pp=5: a stage has at least one block; use at most num_hidden_layers=4",
     [](Case& c) { set_axis(c, Axis::kPp, 5); }},
    {"pp_bounded", "pp=513: at most 512 stages are planned",
     [](Case& c) {
       c.model.num_hidden_layers = 600;
       set_axis(c, Axis::kPp, 513);
     }},
    {"virtual_stages_pipelined",
     "virtual_stages=2: chunks of blocks alternate over the stages of pp; use virtual_stages=1, or "
     "pp of at least 2",
     [](Case& c) { c.layout.virtual_stages = 2; }},
    {"virtual_stages_bounded",
     "virtual_stages=3 x pp=2: a chunk has at least one block; use at most num_hidden_layers=4 of "
     "them",
     [](Case& c) { set_stages(c, 2, 3); }},
    {"virtual_stages_bounded",
     "virtual_stages=9223372036854775807 x pp=2: at most 128 chunks are "
     "planned",
     [](Case& c) { set_stages(c, 2, kHuge); }},
    {"virtual_stages_rounds",
     "accumulation=3: must be a multiple of pp=2 with virtual_stages=2, as rounds of pp "
     "microbatches go through chunk after chunk; use another accumulation, or virtual_stages=1",
     [](Case& c) {
       set_stages(c, 2, 2);
       c.layout.accumulation = 3;
     }},
    {"cp_divides_seq_length",
     "cp=3: 2 x cp pieces must divide seq_length=128; use another cp or seq_length",
     [](Case& c) { set_axis(c, Axis::kCp, 3); }},
};

MoeSpec six_experts() {
  MoeSpec moe;
  moe.num_experts = 6;
  moe.experts_per_token = 2;
  moe.intermediate_size = 64;
  return moe;
}

const std::vector<Spoilt> kExperts = {
    {"size_positive", "expert_parallel=0: must be at least 1",
     [](Case& c) { c.layout.mesh.expert_parallel = 0; }},
    {"expert_parallel_has_experts",
     "expert_parallel=2: the model has no experts to share out; use 1",
     [](Case& c) { c.layout.mesh.expert_parallel = 2; }},
    {"expert_parallel_divides_num_experts",
     "expert_parallel=4: must divide num_experts=6; use 1, 2, 3 or 6",
     [](Case& c) {
       c.model.moe = six_experts();
       c.layout.mesh.expert_parallel = 4;
       set_axis(c, Axis::kDpShard, 4);
     }},
    {"expert_parallel_divides_shards",
     "expert_parallel=3: must divide dp_shard x cp = 4; use 1, 2 or 4",
     [](Case& c) {
       c.model.moe = six_experts();
       c.layout.mesh.expert_parallel = 3;
       set_axis(c, Axis::kCp, 2);
     }},
    {"tp_divides_expert_intermediate_size",
     "tp=2: must divide expert_intermediate_size=55; use 1, 5, 11 or 55",
     [](Case& c) {
       c.model.moe = six_experts();
       c.model.moe.intermediate_size = 55;
     }},
    {"tp_divides_shared_expert_intermediate_size",
     "tp=2: must divide shared_expert_intermediate_size=3; use 1 or 3",
     [](Case& c) {
       c.model.moe = six_experts();
       c.model.moe.shared_intermediate_size = 3;
     }},
};

const std::vector<Spoilt> kStrategies = {
    {"no_shard_replicates",
     "dp_shard=2: no_shard keeps everything whole on every rank; use dp_shard=1 and dp_replicate=2",
     [](Case& c) { c.layout.sharding = Sharding::kNoShard; }},
    {"hybrid_shard_replicates",
     "dp_replicate=1: hybrid_shard_zero2 needs at least 2 replicas; use shard_grad_op, or a larger "
     "dp_replicate",
     [](Case& c) { c.layout.sharding = Sharding::kHybridShardZero2; }},
    {"cp_shards",
     "cp=2: parameters are sharded over dp_shard x cp; use another strategy than no_shard, or cp=1",
     [](Case& c) {
       c.layout.sharding = Sharding::kNoShard;
       set_axis(c, Axis::kDpShard, 1);
       set_axis(c, Axis::kCp, 2);
     }},
    {"sequence_parallel_divides",
     "sequence_parallel=on: tp=2 must divide the 127 tokens of a microbatch on a rank "
     "(microbatch_size=1 x seq_length=127 / cp=1) that it shares out; use off, or another "
     "microbatch_size or seq_length",
     [](Case& c) {
       c.layout.sequence_parallel = true;
       c.layout.microbatch_size = 1;
       c.job.seq_length = 127;
     }},
    {"checkpointed_blocks_bounded", "checkpointed_blocks=5: must be from 0 to num_hidden_layers=4",
     [](Case& c) { c.layout.checkpointed_blocks = 5; }},
    {"data_type_supported", "reduce_dtype=bfloat16: must be float32 or param_dtype=float32",
     [](Case& c) { c.job.reduce_dtype = common::DataType::kBfloat16; }},
    {"data_type_supported", "master_dtype=bfloat16: must be float32 or param_dtype=float32",
     [](Case& c) { c.job.master_dtype = common::DataType::kBfloat16; }},
    {"matmul_dtype_supported", "matmul_dtype=bfloat16: must be float8 or param_dtype=float32",
     [](Case& c) { c.job.matmul_dtype = common::DataType::kBfloat16; }},
    {"moment_dtype_supported",
     "moment_dtype=float16: must be float32 or bfloat16, whose range squared gradients need",
     [](Case& c) { c.job.moment_dtype = common::DataType::kFloat16; }},
    {"async_tp_splits_tokens",
     "async_tp=on: it is the gathers and reduce-scatters of sequence parallelism that are cut; use "
     "sequence_parallel=on, or async_tp=off",
     [](Case& c) { c.layout.async_tp = true; }},
    {"master_dtype_wide_enough", "master_dtype=float16: updates would vanish in it; use float32",
     [](Case& c) { c.job.param_dtype = c.job.master_dtype = common::DataType::kFloat16; }},
};

void expect_each_broken_alone(const std::vector<Spoilt>& cases) {
  for (const Spoilt& spoilt : cases) {
    EXPECT_THAT(broken(spoilt.spoil), testing::ElementsAre(Violation{spoilt.code, spoilt.message}));
  }
}

TEST(Rules, HoldForAValidLayout) {
  EXPECT_THAT(broken([](Case&) {}), testing::IsEmpty());
}

RC_GTEST_PROP(Rules, HoldForEveryPlanOfTheGenerators, ()) {
  const Plan plan = *rc::gen::arbitrary<bool>() ? any_plan_over_all_axes() : any_plan();
  RC_ASSERT(violations(plan.model, plan.cluster, plan.job, plan.layout).empty());
}

TEST(Rules, BoundSizes) { expect_each_broken_alone(kSizes); }

TEST(Rules, FitTheModel) { expect_each_broken_alone(kModel); }

TEST(Rules, FitTheExperts) {
  expect_each_broken_alone(kExperts);
  // Without a block that has it, the width of an ordinary feed-forward does not matter.
  EXPECT_THAT(broken([](Case& c) {
                c.model.moe = six_experts();
                c.model.intermediate_size = 25;
              }),
              testing::IsEmpty());
}

TEST(Rules, FitTheStrategy) { expect_each_broken_alone(kStrategies); }

TEST(Rules, BoundPipelineAndContext) { expect_each_broken_alone(kAxesOfModel); }

TEST(Rules, NameTheAxesThatTheExecutorDoesNotRun) {
  ModelSpec model = small_model();
  EXPECT_THAT(executor_violations(model, small_job(), layout_of({.dp_shard = 2, .tp = 2})),
              testing::IsEmpty());
  Layout layout = layout_of({});
  layout.mesh.sizes[Axis::kPp] = 2;
  layout.mesh.sizes[Axis::kCp] = 4;
  layout.mesh.expert_parallel = 4;
  model.sliding_window = 100;
  const auto found = executor_violations(model, small_job(), layout);
  ASSERT_EQ(found.size(), 4u);
  EXPECT_THAT(found[2].message, testing::StartsWith("ep=4: the executor trains over"));
  EXPECT_EQ(found[3].message,
            "seq_length=128: at most sliding_window=100, as the executor attends to whole "
            "sequences; use a shorter one");
  EXPECT_EQ(found[1].message,
            "cp=4: the executor trains over dp_replicate, dp_shard and tp; use cp=1, or export the "
            "plan to a trainer that has this axis");
}

TEST(Rules, NameTheOptionsThatTheExecutorDoesNotRun) {
  Layout layout = layout_of({.dp_shard = 2, .tp = 2});
  layout.virtual_stages = 2;
  layout.async_tp = layout.optimizer_offload = true;
  Job job = small_job();
  job.matmul_dtype = common::DataType::kFloat8;
  job.moment_dtype = common::DataType::kBfloat16;
  std::vector<std::string> codes;
  for (const Violation& violation : executor_violations(small_model(), job, layout))
    codes.push_back(violation.code);
  EXPECT_THAT(codes,
              testing::ElementsAre("executor_runs_virtual_stages", "executor_runs_async_tp",
                                   "executor_runs_optimizer_offload", "executor_runs_matmul_dtype",
                                   "executor_runs_moment_dtype"));
}

TEST(Rules, WeighOptionsAgainstTheCluster) {
  Case c;
  ClusterSpec cluster = cpu_cluster(c.layout);
  c.layout.sequence_parallel = c.layout.async_tp = c.layout.optimizer_offload = true;
  c.job.matmul_dtype = common::DataType::kFloat8;
  EXPECT_THAT(
      violations(c.model, cluster, c.job, c.layout),
      testing::ElementsAre(
          Violation{"matmul_dtype_of_device",
                    "matmul_dtype=float8: CPU rank has no float8 matrix multiplies "
                    "(float8_peak_flops_per_s=0); use matmul_dtype=float32"},
          Violation{"optimizer_offload_has_host",
                    "optimizer_offload=on: the ranks of local-cpu are processes of the host "
                    "itself; use off"}));
  cluster = load_cluster("h100-sxm", {.nodes = 4, .devices_per_node = 1});
  c.layout.mesh.ranks_per_node = 1;
  cluster.device.host_bandwidth = {};
  cluster.host_memory_bandwidth = {};
  std::vector<std::string> codes;
  for (const Violation& violation : violations(c.model, cluster, c.job, c.layout))
    codes.push_back(violation.code);
  EXPECT_THAT(codes, testing::ElementsAre("async_tp_within_node", "host_bandwidth_known",
                                          "host_memory_bandwidth_known"));
}

TEST(Rules, NameTheDivisorsThatWouldDo) {
  const auto found = broken([](Case& c) {
    set_axis(c, Axis::kTp, 3);
    c.model.num_attention_heads = 4;
    c.model.intermediate_size = 12;
  });
  EXPECT_THAT(found, testing::ElementsAre(
                         Violation{"tp_divides_num_key_value_heads",
                                   "tp=3: must divide num_key_value_heads=4; use 1, 2 or 4"},
                         Violation{"tp_divides_num_attention_heads",
                                   "tp=3: must divide num_attention_heads=4; use 1, 2 or 4"}));
}

TEST(Rules, ReportEveryViolationAtOnce) {
  const auto found = broken([](Case& c) {
    set_axis(c, Axis::kPp, 5);
    set_axis(c, Axis::kCp, 3);
    set_axis(c, Axis::kTp, 3);
    c.job.seq_length = 5000;
    c.layout.blocks_kept_gathered = 9;
  });
  std::vector<std::string> codes;
  for (const Violation& violation : found) codes.push_back(violation.code);
  EXPECT_THAT(codes, testing::UnorderedElementsAre(
                         "blocks_kept_gathered_bounded", "seq_length_within_positions",
                         "tp_divides_num_key_value_heads", "tp_divides_num_attention_heads",
                         "tp_divides_intermediate_size", "pp_bounded", "cp_divides_seq_length"));
  const std::string text = to_string(found);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n') + 1, std::ssize(found));
}

TEST(Rules, SizesThatAreNotPositiveAreAllReportedBeforeTheRest) {
  const auto found = broken([](Case& c) {
    for (Axis axis : kMeshAxes) set_axis(c, axis, 0);
    c.layout.microbatch_size = c.layout.accumulation = c.layout.loss_chunks = -kHuge;
    c.job.seq_length = 0;
  });
  EXPECT_EQ(found.size(), kMeshAxes.size() + 4);
  for (const Violation& violation : found) EXPECT_EQ(violation.code, "size_positive");
}

TEST(Rules, CompareTheMeshWithTheCluster) {
  Case c;
  ClusterSpec cluster = load_cluster("h100-sxm");
  EXPECT_THAT(violations(c.model, cluster, c.job, c.layout),
              testing::ElementsAre(
                  Violation{"world_size",
                            "dp_replicate=1 x dp_shard=2 x tp=2 = 4: must equal the cluster's 1 "
                            "node x 8 devices = 8; change an axis or the cluster"},
                  Violation{"ranks_per_node",
                            "ranks_per_node=4: must equal the cluster's devices_per_node=8"}));
  cluster.devices_per_node = 4;
  EXPECT_THAT(violations(c.model, cluster, c.job, c.layout), testing::IsEmpty());
  cluster.nodes = 3;
  set_axis(c, Axis::kCp, 2);
  const auto found = violations(c.model, cluster, c.job, c.layout);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].message,
            "dp_replicate=1 x dp_shard=2 x cp=2 x tp=2 = 8: must equal the cluster's 3 nodes x 4 "
            "devices = 12; change an axis or the cluster");
}

/// Sizes up to the largest that a config or a flag can hold: whatever passes the rules is priced
/// without leaving a type.
RC_GTEST_PROP(Rules, SizesThatWouldOverflowAreViolations, ()) {
  const auto any_size = [](std::int64_t most) {
    const std::int64_t power = std::int64_t{1} << *rc::gen::inRange(0, 63);
    return std::min(power, most);
  };
  Plan plan = any_plan();
  plan.model.hidden_size = any_size(1ll << 31);
  plan.model.intermediate_size = any_size(1ll << 31);
  plan.model.vocab_size = any_size(1ll << 31);
  plan.model.head_dim = any_size(1ll << 31);
  plan.model.num_hidden_layers = any_size(1000);
  plan.model.max_position_embeddings = 0;
  plan.layout.blocks_kept_gathered = 0;
  plan.layout.microbatch_size = any_size(kHuge);
  plan.layout.accumulation = any_size(kHuge);
  plan.layout.loss_chunks = any_size(8);
  plan.job.seq_length = any_size(kHuge);
  const Estimate priced = estimate(plan.model, plan.cluster, plan.job, plan.layout);
  RC_CLASSIFY(priced.violations.empty(), "valid");
  if (!priced.violations.empty()) return;
  RC_ASSERT(priced.memory.peak_allocated.value > 0);
  RC_ASSERT(priced.memory.peak_device >= priced.memory.peak_allocated);
  RC_ASSERT(priced.step_time.value > 0);
  for (const AxisTraffic& axis : priced.traffic) {
    RC_ASSERT(axis.bytes.value >= 0 && axis.wire_bytes.value >= 0);
    RC_ASSERT(axis.wire_bytes.value <= 2 * axis.bytes.value);
  }
}

}  // namespace
}  // namespace meshplan::planner
