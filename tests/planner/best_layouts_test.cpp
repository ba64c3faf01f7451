#include "planner/search/best_layouts.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string>

#include "common/error.h"
#include "planner/search/bounds.h"
#include "planner/search/fit.h"
#include "tests/common/expect_error.h"
#include "tests/planner/random_plans.h"

namespace meshplan::planner {
namespace {

struct Case {
  ModelSpec model;
  ClusterSpec cluster;
  Job job;
  SearchSpace space;
};

/// A cluster of up to 32 ranks, whose memory is about what the layouts need, and links anywhere
/// between negligible and dominating.
Case any_case() {
  Case c{any_model(), {}, any_job(), {}};
  Layout unused;
  c.cluster = any_cluster(unused);
  c.cluster.nodes = *rc::gen::element<std::int64_t>(1, 2, 3, 4);
  c.cluster.devices_per_node = *rc::gen::element<std::int64_t>(1, 4, 6, 8);
  c.cluster.reserved_memory = common::Bytes(0);
  c.cluster.device.memory = common::Bytes(*rc::gen::inRange<std::int64_t>(1 << 20, 12 << 20));
  c.space.microbatch_size = {1, 2, 8};
  c.space.virtual_stages = {1};
  if (*rc::gen::inRange(0, 4) == 0) c.space.virtual_stages = {1, 2, 4};
  if (*rc::gen::arbitrary<bool>())
    c.space.global_batch_size = *rc::gen::element<std::int64_t>(8, 24, 48, 96);
  return c;
}

std::vector<Branch> branches_of(const Case& c) {
  const SearchSpace space = narrowed(c.space, c.model, c.cluster);
  std::vector<Branch> branches;
  for (const Branch& mesh : meshes_of(c.cluster, space)) {
    for (const Branch& branch : branches_of(space, mesh)) branches.push_back(branch);
  }
  return branches;
}

BestLayouts best(const Case& c, Pruning pruning, std::size_t count = 5) {
  return best_layouts(c.model, c.cluster, c.job, c.space, count, {.pruning = pruning});
}

std::int64_t rejected(const BestLayouts& found) {
  std::int64_t count = 0;
  for (const Rejection& group : found.rejected) count += group.count;
  return count;
}

/// 25 for each of 100 repetitions with MESHPLAN_LONG_TESTS=1; docs/planning.md has the result.
int clusters() { return std::getenv("MESHPLAN_LONG_TESTS") != nullptr ? 500 : 60; }

TEST(BestLayouts, PrunedAreThoseOfTheWholeSpace) {
  int compared = 0;
  std::int64_t priced = 0;
  std::int64_t considered = 0;
  const bool held = rc::check([&] {
    for (int i = 0; i < clusters() / 20; ++i) {
      const Case c = any_case();
      const BestLayouts pruned = best(c, Pruning::kOn);
      const BestLayouts all = best(c, Pruning::kOff);
      RC_ASSERT(pruned.best.size() == all.best.size());
      for (std::size_t l = 0; l < all.best.size(); ++l)
        RC_ASSERT(pruned.best[l].layout == all.best[l].layout);
      for (const BestLayouts* found : {&pruned, &all})
        RC_ASSERT(found->fitting + found->slower + rejected(*found) == found->considered);
      RC_ASSERT(pruned.considered == all.considered);
      if (all.best.empty()) continue;
      ++compared;
      priced += pruned.fitting;
      considered += all.fitting;
    }
  });
  EXPECT_TRUE(held);
  fmt::print("{} clusters with a layout that fits: {} layouts priced instead of {}\n", compared,
             priced, considered);
  EXPECT_GE(compared, clusters() / 2);
  EXPECT_LT(priced, considered);
}

/// Every layout of the space with every number of checkpointed and kept blocks.
TEST(BestLayouts, TheFirstIsTheFastestOfEveryLayoutThatFits) {
  const bool held = rc::check([&] {
    Case c = any_case();
    c.model.num_hidden_layers = *rc::gen::inRange<std::int64_t>(1, 5);
    c.cluster.devices_per_node = *rc::gen::element<std::int64_t>(1, 2, 4);
    c.cluster.nodes = 1;
    c.space.sequence_parallel = {false};
    const BestLayouts found = best(c, Pruning::kOn, 1);
    if (found.best.empty()) return;
    const double best_time = 1 / found.best.front().estimate.tokens_per_second_per_gpu;
    for (const Branch& branch : branches_of(c)) {
      for (Layout layout : layouts_of(narrowed(c.space, c.model, c.cluster), branch)) {
        if (!violations(c.model, c.cluster, c.job, layout).empty()) continue;
        layout.loss_chunks = default_loss_chunks(c.model, c.job, layout);
        for (std::int64_t kept = 1; kept <= c.model.num_hidden_layers; ++kept) {
          layout.blocks_kept_gathered = kept;
          const Estimate priced = estimate(c.model, c.cluster, c.job, layout);
          RC_ASSERT(!priced.fits || 1 / priced.tokens_per_second_per_gpu >= best_time * (1 - 1e-6));
        }
      }
    }
  });
  EXPECT_TRUE(held);
}

RC_GTEST_PROP(BestLayouts, CheckpointTheFewestBlocksThatFit, ()) {
  const Case c = any_case();
  EstimateTables tables(c.model, c.cluster, c.job);
  for (const auto& [layout, priced] : best(c, Pruning::kOn).best) {
    RC_ASSERT(priced.fits);
    RC_ASSERT(priced.violations.empty());
    if (layout.activation_checkpointing == ActivationCheckpointing::kNone) continue;
    Layout fewer = layout;
    fewer.blocks_kept_gathered = 1;
    fewer.checkpointed_blocks = *layout.checkpointed_blocks - 1;
    RC_ASSERT(*fewer.checkpointed_blocks == 0 || !estimate(c.model, c.cluster, c.job, fewer).fits);
  }
}

TEST(LayoutBounds, AreNeverAboveTimeAndMemory) {
  double tightest_time = 0;
  double tightest_memory = 0;
  const bool held = rc::check([&] {
    for (int i = 0; i < 10; ++i) {
      Plan plan = i % 2 == 0 ? any_plan_over_all_axes() : any_interleaved_plan();
      const std::int64_t pp = plan.layout.mesh.sizes[Axis::kPp];
      const std::int64_t chunks = plan.model.num_hidden_layers / pp;
      // With experts and every option, too.
      if (i % 4 == 0 && pp > 1 && chunks > 1)
        plan.layout.virtual_stages = *rc::gen::inRange<std::int64_t>(1, chunks + 1);
      plan.layout.accumulation = any_accumulation(plan.layout, 30);
      plan.layout.prefetch_depth = *rc::gen::element<std::int64_t>(1, 1, 0, 2, 3);
      plan.estimate = estimate(plan.model, plan.cluster, plan.job, plan.layout);
      if (!plan.estimate.violations.empty()) continue;
      LayoutBounds bounds(plan.model, plan.cluster, plan.job);
      const double time = bounds.time(plan.layout).value / plan.estimate.step_time.value;
      const double memory = static_cast<double>(bounds.memory(plan.layout).value) /
                            static_cast<double>(plan.estimate.memory.peak_allocated.value);
      const double chosen = bounds.time_as_chosen(plan.layout).value;
      const double played = bounds.time_as_played(plan.layout).value;
      RC_ASSERT(chosen <= plan.estimate.step_time.value * (1 + 1e-9));
      RC_ASSERT(played <= plan.estimate.step_time.value * (1 + 1e-9));
      RC_ASSERT(bounds.memory_as_checkpointed(plan.layout) <= plan.estimate.memory.peak_allocated);
      const bool checkpoints =
          plan.layout.activation_checkpointing != ActivationCheckpointing::kNone;
      if (plan.estimate.fits && checkpoints && plan.layout.checkpointed_blocks)
        RC_ASSERT(bounds.least_checkpointed(plan.layout) <= *plan.layout.checkpointed_blocks);
      RC_ASSERT(bounds.compute_time(plan.layout).value <=
                bounds.time(plan.layout).value * (1 + 1e-9));
      RC_ASSERT(time <= 1 + 1e-9);
      RC_ASSERT(memory <= 1);
      tightest_time = std::max(tightest_time, time);
      tightest_memory = std::max(tightest_memory, memory);
    }
  });
  EXPECT_TRUE(held);
  fmt::print("bounds reach {:.3f} of time and {:.3f} of memory\n", tightest_time, tightest_memory);
}

TEST(SearchSpace, HasEveryMeshOnce) {
  Case c{small_model(8), load_cluster("local-cpu"), small_job(), {}};
  c.cluster.devices_per_node = 12;
  c.space = narrowed(c.space, c.model, c.cluster);
  std::set<std::string> seen;
  for (const Branch& branch : branches_of(c)) {
    for (const Layout& layout : layouts_of(c.space, branch)) {
      EXPECT_EQ(world_size(layout.mesh), 12);
      EXPECT_TRUE(seen.insert(to_json(layout).dump()).second) << to_json(layout).dump();
    }
  }
  EXPECT_GT(seen.size(), 1000u);
}

TEST(BestLayouts, AreThoseOfTheWholeSpaceWhereBlocksDiffer) {
  Case c{small_model(2), load_cluster("local-cpu"), small_job(), {}};
  c.model.moe.num_experts = 2;
  c.model.moe.experts_per_token = 1;
  c.model.moe.intermediate_size = 64;
  c.model.moe.first_dense_blocks = 1;
  c.space.microbatch_size = {1};
  const BestLayouts all = best(c, Pruning::kOff);
  const BestLayouts pruned = best(c, Pruning::kOn);
  ASSERT_FALSE(all.best.empty());
  EXPECT_EQ(all.considered, all.fitting + all.slower + rejected(all));
  ASSERT_EQ(pruned.best.size(), all.best.size());
  for (std::size_t l = 0; l < all.best.size(); ++l)
    EXPECT_EQ(pruned.best[l].layout, all.best[l].layout);
  EXPECT_LT(pruned.fitting, all.fitting);
}

TEST(BestLayouts, RejectTheOnlyChoiceByItsRule) {
  Case experts{small_model(2), load_cluster("local-cpu"), small_job(), {}};
  experts.space.expert_parallel = {2};
  Case offload{small_model(2), load_cluster("local-cpu"), small_job(), {}};
  offload.space.optimizer_offload = {true};
  for (const Case& c : {experts, offload}) {
    const BestLayouts found = best(c, Pruning::kOn);
    EXPECT_TRUE(found.best.empty());
    ASSERT_FALSE(found.rejected.empty());
    EXPECT_EQ(rejected(found), found.considered);
  }
}

TEST(BestLayouts, RefuseSizesThatAreNotPositive) {
  Case c{small_model(2), load_cluster("local-cpu"), small_job(), {}};
  c.space.tp = {1, 0};
  tests::expect_error(
      common::ErrorCode::kInvalidInput, [&] { best(c, Pruning::kOn); }, "tp", "must be at least 1");
}

}  // namespace
}  // namespace meshplan::planner
