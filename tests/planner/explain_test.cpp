#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "planner/explain/explanation.h"
#include "planner/explain/layout_text.h"
#include "planner/explain/pareto.h"
#include "planner/explain/rejections.h"
#include "tests/planner/random_plans.h"

namespace meshplan::planner {
namespace {

using testing::HasSubstr;

/// Llama 3 8B on nodes of eight H100.
struct Case {
  ModelSpec model = load_model("llama-3-8b");
  ClusterSpec cluster;
  Job job;
  SearchRequest request;

  explicit Case(std::int64_t nodes, std::int64_t seq_length = 8192)
      : cluster(load_cluster("h100-sxm", {.nodes = nodes})) {
    job.seq_length = seq_length;
    job.param_dtype = common::DataType::kBfloat16;
  }
  SearchResult search() const { return planner::search(model, cluster, job, request); }
  Explanation explain() const {
    return planner::explain(model, cluster, job, search(), request.objective);
  }
};

Candidate candidate_of(double rate, std::int64_t memory) {
  Candidate candidate;
  candidate.estimate.tokens_per_second_per_gpu = rate;
  candidate.estimate.memory.peak_device = common::Bytes(memory);
  return candidate;
}

RC_GTEST_PROP(Pareto, KeepsExactlyWhatNoOtherBeats, ()) {
  std::vector<Candidate> candidates;
  const int count = *rc::gen::inRange(0, 30);
  for (int i = 0; i < count; ++i)
    candidates.push_back(candidate_of(*rc::gen::inRange(1, 8), *rc::gen::inRange(1, 8)));
  const std::vector<std::size_t> frontier = pareto_frontier(candidates);
  const auto rate = [&](std::size_t i) { return candidates[i].estimate.tokens_per_second_per_gpu; };
  const auto memory = [&](std::size_t i) { return candidates[i].estimate.memory.peak_device; };
  for (std::size_t i = 1; i < frontier.size(); ++i) {
    RC_ASSERT(rate(frontier[i]) < rate(frontier[i - 1]));
    RC_ASSERT(memory(frontier[i]) < memory(frontier[i - 1]));
  }
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const bool matched = std::any_of(frontier.begin(), frontier.end(), [&](std::size_t f) {
      return rate(f) >= rate(i) && memory(f) <= memory(i);
    });
    RC_ASSERT(matched);
  }
}

Rejection rejection_of(const char* reason, std::int64_t needed = 0) {
  return {layout_of({}), reason, common::Bytes(needed)};
}

TEST(Rejections, AreGroupedByReasonAndLedByTheLeastNeed) {
  const std::vector<Rejection> rejected = {
      rejection_of("needs 9 GiB", 9), rejection_of("tp=3: must divide 8"),
      rejection_of("needs 5 GiB", 5), rejection_of("tp=5: must divide 8"),
      rejection_of("needs 7 GiB", 7)};
  const std::vector<RejectionGroup> groups = group_rejections(rejected);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].count, 3);
  EXPECT_EQ(groups[0].example, &rejected[2]);
  EXPECT_EQ(groups[1].count, 2);
  EXPECT_EQ(least_need(rejected), &rejected[2]);
  EXPECT_EQ(least_need({}), nullptr);
  EXPECT_THAT(rejection_text(rejected, 5),
              HasSubstr("3 do not fit; the one that needs least is tp=1 dp_shard=1 dp_replicate=1 "
                        "microbatch_size=2: needs 5 GiB\n"));
  EXPECT_THAT(rejection_text(rejected, 1), HasSubstr("and 1 more reason; --json has all"));
  EXPECT_THAT(rejection_text(rejected, 0), HasSubstr("and 2 more reasons; --json has all"));
}

RC_GTEST_PROP(StepShares, SumToTheStep, ()) {
  const Plan plan = any_plan_over_all_axes();
  const StepShares shares =
      shares_of(plan.model, plan.cluster, plan.job, {plan.layout, plan.estimate});
  const double step = plan.estimate.step_time.value;
  double sum = 0;
  for (const common::Seconds& share : shares) {
    RC_ASSERT(share.value >= -1e-9 * step);
    sum += share.value;
  }
  RC_ASSERT(std::abs(sum - step) <= 1e-9 * step);
}

TEST(Explanation, LosersLoseByTheSumOfTheirParts) {
  const Case c(2);
  const Explanation explanation = c.explain();
  ASSERT_FALSE(explanation.losers.empty());
  for (const Loser& loser : explanation.losers) {
    double sum = 0;
    for (double by : loser.slower_by) sum += by;
    EXPECT_NEAR(sum, loser.slower, 1e-9);
    EXPECT_GE(loser.worse, 0);
    EXPECT_DOUBLE_EQ(loser.worse, loser.slower);
  }
  EXPECT_EQ(explanation.losers.front().rank, 2u);
}

TEST(Explanation, CrossingTokensAreWhereTheVolumesMeet) {
  Case c(2);
  c.request.tp = {8};
  c.request.dp_shard = {2};
  c.request.microbatch_size = 1;
  const Explanation explanation = c.explain();
  const Volumes& volumes = explanation.volumes;
  // Parameters x 2 bytes = layers x hidden x tokens x 2 x 2 bytes.
  EXPECT_EQ(volumes.first_order_crossing_tokens, std::llround(8'030'261'248.0 / (2 * 32 * 4096)));
  ASSERT_TRUE(volumes.crossing_tokens.has_value());
  const auto at = static_cast<double>(*volumes.crossing_tokens);
  for (const VolumePoint& point : volumes.points) {
    const auto tokens = static_cast<double>(point.seq_length * point.microbatch_size);
    // FSDP stays, but for the padding of slices; TP grows with the tokens.
    EXPECT_EQ(point.dp_shard_wire, volumes.points.front().dp_shard_wire);
    const double tp = static_cast<double>(point.tp_wire.value);
    const double fsdp = static_cast<double>(point.dp_shard_wire.value);
    EXPECT_NEAR(tp / fsdp, tokens / at, 1e-3 * tokens / at);
  }
  EXPECT_EQ(volumes.points.size(), 4u) << "twice the sequence is beyond the model's positions";
}

TEST(Explanation, TpAcrossNodesIsPricedAndLoses) {
  Case c(4);
  c.model = load_model("gpt-3-175b");
  c.job.seq_length = 2048;
  c.request.tp = {8};
  c.cluster.device.memory = common::Bytes(std::int64_t{1} << 40);
  const Explanation explanation = c.explain();
  const CrossingNodes& crossing = explanation.crossing;
  ASSERT_EQ(crossing.not_priced, "");
  EXPECT_EQ(crossing.layout.mesh.sizes[Axis::kTp], 16);
  EXPECT_EQ(world_size(crossing.layout.mesh), 32);
  EXPECT_GT(crossing.slower, 0);
  // A group over two whole nodes has all of their adapters: what it loses is mostly latency, and
  // the product of more ranks, so that a faster network helps the other layout as much.
  EXPECT_GT(crossing.slower_on_node_links, 0);
  EXPECT_THAT(explanation_text(explanation), HasSubstr("TP across nodes: no. With tp=16"));
  EXPECT_EQ(crossing.layout.mesh.ranks_per_node, 8);
}

TEST(Explanation, TpAcrossNodesTakesHalfOfEachWhereHeadsAreFew) {
  Case c(2);
  c.request.tp = {8};
  const CrossingNodes crossing = c.explain().crossing;
  ASSERT_EQ(crossing.not_priced, "");
  EXPECT_EQ(crossing.layout.mesh.sizes[Axis::kTp], 8);
  EXPECT_EQ(crossing.layout.mesh.ranks_per_node, 4);
  EXPECT_GT(crossing.slower, 0);
}

TEST(Explanation, TpAcrossNodesSaysWhyItIsNotWeighed) {
  EXPECT_EQ(Case(1).explain().crossing.not_priced, "there is one node alone");
  Case c(2);
  c.model.num_attention_heads = 4;
  c.model.num_key_value_heads = 4;
  c.model.head_dim = 1024;
  EXPECT_THAT(c.explain().crossing.not_priced,
              HasSubstr("tp=16: must divide num_key_value_heads=4"));
}

TEST(Explanation, TpAcrossNodesPaysOnAFasterNetworkWhereLatencyAloneIsAgainstIt) {
  Case c(8, 512);
  c.model = load_model("gpt-3-175b");
  c.cluster.devices_per_node = 1;
  c.cluster.device.memory = common::Bytes(std::int64_t{1} << 40);
  c.request.tp = {1};
  c.request.dp_shard = {8};
  c.request.microbatch_size = 1;
  c.cluster.node_links.reset();
  c.cluster.node_network.reset();
  for (CollectiveCost* cost : {&c.cluster.inter_node.all_reduce, &c.cluster.inter_node.all_gather,
                               &c.cluster.inter_node.reduce_scatter}) {
    *cost = c.cluster.intra_node.all_gather;
    cost->latency = common::Seconds(2e-2);
  }
  const Explanation explanation = c.explain();
  const CrossingNodes& crossing = explanation.crossing;
  ASSERT_EQ(crossing.not_priced, "");
  fmt::print("tp over two nodes: {:+.3f} as it is, {:+.3f} on the links of a node\n",
             crossing.slower, crossing.slower_on_node_links);
  EXPECT_GT(crossing.slower, 0);
  EXPECT_LT(crossing.slower_on_node_links, 0);
  ASSERT_TRUE(crossing.break_even.has_value());
  EXPECT_GT(*crossing.break_even, 1);
  EXPECT_THAT(explanation_text(explanation), HasSubstr("It would pay on a network"));
}

TEST(Explanation, SaysWhatBoundsTheLayoutInWordsAndJson) {
  const Case c(2);
  const Explanation explanation = c.explain();
  const std::string text = explanation_text(explanation);
  EXPECT_THAT(text, HasSubstr("The best by throughput: " + layout_text(explanation.chosen.layout)));
  EXPECT_THAT(text, HasSubstr("What bounds it: compute."));
  EXPECT_THAT(text, HasSubstr("Number 2, "));
  EXPECT_THAT(text, HasSubstr("more time per token"));
  EXPECT_THAT(text, HasSubstr("By the two first-order formulas they are equal at 30633 tokens"));
  const common::Json json = to_json(explanation);
  EXPECT_EQ(json["bound_by"], "compute");
  EXPECT_EQ(json["shares_s"].size(), kStepParts);
  EXPECT_EQ(json["text"], text);
  EXPECT_EQ(json.dump(), to_json(c.explain()).dump());
}

TEST(Explanation, OfTheMemoryObjectiveWeighsMemory) {
  Case c(1);
  c.request.objective = Objective::kMemory;
  const Explanation explanation = c.explain();
  EXPECT_THAT(explanation_text(explanation), HasSubstr("more of the device's memory"));
  for (const Loser& loser : explanation.losers) EXPECT_GE(loser.worse, 0);
}

}  // namespace
}  // namespace meshplan::planner
