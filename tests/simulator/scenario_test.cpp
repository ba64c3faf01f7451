#include "simulator/scenario.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <limits>

#include "simulator/noise.h"
#include "simulator/simulate.h"
#include "tests/common/expect_error.h"
#include "tests/planner/random_plans.h"
#include "tests/simulator/contended_plans.h"

namespace meshplan::simulator {
namespace {

using planner::Axis;
using planner::Plan;

SimulatedStep simulate_as(const Plan& plan, const Scenario& scenario) {
  SimulationRequest request;
  request.scenario = scenario;
  return simulate(plan, request);
}

/// Llama-3-8B on 8 H100 of one node.
Plan plan_of_8b(const planner::MeshSizes& sizes) {
  planner::Job job;
  job.seq_length = 4096;
  job.param_dtype = common::DataType::kBfloat16;
  planner::Layout layout = planner::layout_of(sizes);
  layout.microbatch_size = 1;
  layout.loss_chunks = 8;
  return planner::plan_of(planner::load_model("llama-3-8b"), planner::load_cluster("h100-sxm"), job,
                          layout);
}

/// All ranks of a tp-8 group meet at every collective, so that each waits there for the one that
/// is slower by a tenth: the step takes as long as if all were. That is 1.1 times the kernels, and
/// of the collectives at most what was exposed of them before: a few run beside the multiplies of
/// weight gradients, whose longer time hides more of them.
TEST(Scenario, OneSlowRankSlowsItsTensorParallelGroup) {
  const Plan plan = plan_of_8b({.tp = 8});
  const SimulatedStep alike = simulate(plan);
  const SimulatedStep slow = simulate_as(plan, {.slow_ranks = {{3, 1.1}}});
  EXPECT_EQ(slow.step_time, simulate_as(plan, {.slow_nodes = {{0, 1.1}}}).step_time);
  const Picoseconds tp = alike.exposed[static_cast<std::size_t>(Axis::kTp)];
  EXPECT_EQ(alike.step_time, alike.compute_time + tp);
  const double kernels = 1.1 * static_cast<double>(alike.compute_time);
  fmt::print("alike {:.3f} ms; slow {:.3f} ms, between {:.3f} and {:.3f} ms by the sums\n",
             1e3 * seconds(alike.step_time), 1e3 * seconds(slow.step_time), 1e-9 * kernels,
             1e-9 * (kernels + static_cast<double>(tp)));
  EXPECT_GE(static_cast<double>(slow.step_time), kernels);
  EXPECT_LE(static_cast<double>(slow.step_time),
            kernels + static_cast<double>(tp) + static_cast<double>(slow.events));
  EXPECT_EQ(slow.slowest.rank, 3);
  EXPECT_TRUE(slow.every_rank);
}

/// A node whose ranks are all slower is a cluster that is slower, where there is one node.
TEST(Scenario, ASlowNodeIsAllOfItsRanks) {
  const Plan plan = plan_of_8b({.dp_shard = 2, .tp = 4});
  Scenario ranks;
  for (std::int64_t rank = 0; rank < 8; ++rank) ranks.slow_ranks.push_back({rank, 1.25});
  const SimulatedStep of_node = simulate_as(plan, {.slow_nodes = {{0, 1.25}}});
  EXPECT_EQ(of_node.step_time, simulate_as(plan, ranks).step_time);
  EXPECT_GT(of_node.step_time, simulate(plan).step_time);
  EXPECT_EQ(kernel_factors({.slow_ranks = {{1, 2}}, .slow_nodes = {{0, 1.5}}}, plan.layout.mesh)[1],
            3 * kOne);
}

/// Two nodes; node 1 has half of its bandwidth, which all groups of dp_shard pass.
TEST(Scenario, ADegradedLinkSlowsWhatPassesIt) {
  Plan plan = plan_of_8b({.dp_shard = 2, .tp = 8});
  plan.cluster.nodes = 2;
  plan.layout.mesh.ranks_per_node = 8;
  const SimulatedStep alike = simulate(plan);
  const SimulatedStep degraded = simulate_as(plan, {.degraded_links = {{1, 0.5}}});
  EXPECT_GT(degraded.step_time, alike.step_time);
  EXPECT_EQ(degraded.exposed[static_cast<std::size_t>(Axis::kTp)],
            alike.exposed[static_cast<std::size_t>(Axis::kTp)]);
  EXPECT_EQ(simulate_as(plan, {.degraded_links = {{1, 1}}}).step_time, alike.step_time);
  EXPECT_TRUE(link_factors({.degraded_links = {{1, 0.5}}}, plan.layout.mesh, Axis::kTp).empty());
}

/// Not where links are shared: collectives that come sooner may delay one that compute waits for.
RC_GTEST_PROP(Scenario, NeverHelpsWhereItHurtsNorHurtsWhereItHelps, ()) {
  const Plan plan =
      *rc::gen::arbitrary<bool>() ? planner::any_plan_over_all_axes() : any_contended_plan();
  const auto step_with = [&](const Scenario& scenario) { return simulate_as(plan, scenario); };
  const Picoseconds step = step_with({}).step_time;
  RC_ASSERT(step_with({.no_overlap = true}).step_time >= step);
  RC_ASSERT(step_with({.overlap = 1}).step_time <= step);
  const Picoseconds no_latency = step_with({.zero_latency = true}).step_time;
  const Picoseconds no_bytes = step_with({.infinite_bandwidth = true}).step_time;
  RC_ASSERT(no_latency <= step);
  RC_ASSERT(no_bytes <= step);
  const SimulatedStep no_network = step_with({.infinite_bandwidth = true, .zero_latency = true});
  RC_ASSERT(no_network.step_time <= std::min(no_latency, no_bytes));
  if (plan.layout.mesh.sizes[Axis::kPp] == 1)
    RC_ASSERT(no_network.step_time == no_network.compute_time);
}

RC_GTEST_PROP(Scenario, OfASlowerRankNeverHelps, ()) {
  const bool shared = *rc::gen::arbitrary<bool>();
  const Plan plan = shared ? any_contended_plan() : planner::any_plan_over_all_axes();
  const auto rank = *rc::gen::inRange<std::int64_t>(0, planner::world_size(plan.layout.mesh));
  const auto step_with = [&](std::vector<Exception> slow) {
    return simulate_as(plan, {.slow_ranks = std::move(slow), .shared_links = shared}).step_time;
  };
  const Picoseconds step = step_with({});
  RC_ASSERT(step_with({{rank, 1.3}}) >= step);
  RC_ASSERT(step_with({{rank, 0.8}}) <= step);
}

RC_GTEST_PROP(Scenario, NeedsNoSeedWhereNothingIsRandom, ()) {
  const Plan plan = planner::any_plan_over_all_axes();
  Scenario scenario;
  scenario.slow_ranks = {{0, 1.2}};
  const auto step_at = [&](std::uint64_t seed) {
    scenario.seed = seed;
    return to_json(simulate_as(plan, scenario));
  };
  RC_ASSERT(step_at(1) == step_at(2));
  scenario.speed_spread = 0.05;
  scenario.jitter = 0.05;
  RC_ASSERT(step_at(1) == step_at(1));
  RC_ASSERT(step_at(1) != step_at(2));
}

/// The same numbers on every machine: recorded once.
TEST(Noise, IsTheSameEverywhere) {
  const Noise noise(1, 1, 30'000);
  std::vector<Millionths> factors;
  for (std::uint64_t place = 0; place < 5; ++place) factors.push_back(noise.factor(place));
  EXPECT_THAT(factors, testing::ElementsAre(1018503, 1004966, 927744, 987332, 961115));
  EXPECT_EQ(Noise(1, 1, 0).factor(7), kOne);
}

TEST(Noise, IsNormal) {
  const Noise noise(5, 2, 100'000);
  constexpr int kDraws = 200'000;
  double sum = 0;
  double squares = 0;
  int within_one = 0;
  for (std::uint64_t place = 0; place < kDraws; ++place) {
    const double z = static_cast<double>(noise.factor(place) - kOne) / 100'000;
    EXPECT_LE(std::abs(z), 6.001);
    sum += z;
    squares += z * z;
    if (std::abs(z) < 1) ++within_one;
  }
  fmt::print("mean {:.4f}, variance {:.4f}, {:.4f} within one deviation\n", sum / kDraws,
             squares / kDraws, static_cast<double>(within_one) / kDraws);
  EXPECT_NEAR(sum / kDraws, 0, 0.01);
  EXPECT_NEAR(squares / kDraws, 1, 0.02);
  EXPECT_NEAR(static_cast<double>(within_one) / kDraws, 0.6827, 0.01);
}

TEST(Scenario, IsReadFromFlags) {
  EXPECT_EQ(parse_exception("12:1.5", "--slow-rank"), (Exception{12, 1.5}));
  for (const char* text :
       {"", "3", "3:", ":2", "3:x", "3:1.1x", "3.5:1", "99999999999999999999:1"}) {
    tests::expect_error(
        common::ErrorCode::kInvalidInput, [&] { parse_exception(text, "--slow-rank"); },
        "--slow-rank", "like 3:1.1");
  }
}

TEST(Scenario, IsRefusedInWordsAllAtOnce) {
  const planner::DeviceMesh mesh = planner::layout_of({.dp_shard = 2, .tp = 2}).mesh;
  const Scenario scenario{.slow_ranks = {{4, 1.1}, {-1, 1.1}, {0, 0.05}, {0, 1.1}},
                          .slow_nodes = {{1, std::nan("")}},
                          .speed_spread = 0.2,
                          .jitter = -0.1,
                          .degraded_links = {{0, 0}},
                          .overlap = 1.5};
  for (const char* part :
       {"there is no rank 4; the layout has ranks 0 to 3", "there is no rank -1",
        "rank 0: the factor 0.05 must be from 0.1 to 100", "rank 0 is named twice",
        "there is no node 1; the layout has nodes 0 to 0", "node 1: the factor nan",
        "--speed-spread: 0.2 must be from 0 to 0.15", "--jitter: -0.1 must be",
        "the factor 0 must be from 0.001 to 1", "all ranks are on one node",
        "--overlap: 1.5 must be"}) {
    tests::expect_error(
        common::ErrorCode::kInvalidInput, [&] { require_valid(scenario, mesh); }, "scenario", part);
  }
}

TEST(Scenario, RefusesMoreEventsThanItPlays) {
  planner::Layout layout = planner::layout_of({.dp_shard = 1 << 20});
  layout.accumulation = 1 << 9;
  const Plan plan = planner::plan_of(planner::small_model(), planner::cpu_cluster(layout),
                                     planner::small_job(), layout);
  tests::expect_error(
      common::ErrorCode::kInvalidInput,
      [&] {
        simulate_as(plan, {.slow_ranks = {{0, 2}}});
      },
      "--every-rank", "events; at most");
}

}  // namespace
}  // namespace meshplan::simulator
