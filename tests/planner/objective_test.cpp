#include "planner/search/objective.h"

#include <gtest/gtest.h>

#include "tests/common/expect_error.h"
#include "tests/planner/plans.h"

namespace meshplan::planner {
namespace {

using common::ErrorCode;

/// Eight H100 of 3 an hour and 700 W each.
ClusterSpec priced_cluster() { return load_cluster("h100-sxm"); }

TEST(Objective, IsNamedAndReadBack) {
  for (const char* name : {"throughput", "memory", "cost", "energy"})
    EXPECT_STREQ(to_string(parse_objective(name, "--objective")), name);
  tests::expect_error(
      ErrorCode::kInvalidInput, [] { parse_objective("beauty", "--objective"); }, "--objective",
      "'beauty'; use throughput, memory, cost or energy");
}

TEST(Objective, NeedsThePriceOrPowerThatItCounts) {
  const ClusterSpec cpu = load_cluster("local-cpu");
  ASSERT_EQ(cpu.price.value, 0);
  ASSERT_EQ(cpu.device.power.value, 0);
  tests::expect_error(
      ErrorCode::kInvalidInput, [&] { require_known(Objective::kCost, cpu); },
      "objective=cost: cluster local-cpu has no price", "--gpu-price");
  tests::expect_error(
      ErrorCode::kInvalidInput, [&] { require_known(Objective::kEnergy, cpu); },
      "objective=energy: cluster local-cpu has no power of its devices", "device.power_w");
  EXPECT_NO_THROW(require_known(Objective::kThroughput, cpu));
  EXPECT_NO_THROW(require_known(Objective::kCost, load_cluster("local-cpu", {.price = 0.5})));
  EXPECT_NO_THROW(require_known(Objective::kEnergy, priced_cluster()));
}

TEST(Objective, ScoresFollowTheirUnits) {
  ClusterSpec cluster = priced_cluster();
  cluster.price = common::PricePerHour(3.6);
  cluster.device.power = common::Watts(500);
  Estimate estimate;
  estimate.tokens_per_second_per_gpu = 1000;
  estimate.memory.peak_device = common::Bytes(4096);
  EXPECT_DOUBLE_EQ(score(estimate, cluster, Objective::kThroughput), 1e-3);
  EXPECT_DOUBLE_EQ(score(estimate, cluster, Objective::kMemory), 4096);
  // 3.6 an hour is 0.001 a second; 500 W for a millisecond are half a joule.
  EXPECT_DOUBLE_EQ(score(estimate, cluster, Objective::kCost), 1e-6);
  EXPECT_DOUBLE_EQ(score(estimate, cluster, Objective::kEnergy), 0.5);
}

TEST(TokenCost, IsOfAMillionTokensAndOnlyWhereItIsKnown) {
  ClusterSpec cluster = priced_cluster();
  cluster.price = common::PricePerHour(3.6);
  cluster.device.power = common::Watts(500);
  const TokenCost cost = token_cost(cluster, 1000);
  EXPECT_DOUBLE_EQ(cost.price.value(), 1.0);
  // 500 W for the 1000 s that a device would take.
  EXPECT_DOUBLE_EQ(cost.kilowatt_hours.value(), 500.0 * 1000 / 3.6e6);
  cluster.price = {};
  EXPECT_FALSE(token_cost(cluster, 1000).price.has_value());
  EXPECT_EQ(to_json(token_cost(load_cluster("local-cpu"), 1000)), common::Json::object());
}

TEST(TokenCost, IsInAnEstimatesJsonAndReadBack) {
  const Layout layout = layout_of({.dp_shard = 8});
  const Estimate priced = estimate(small_model(), priced_cluster(), small_job(), layout);
  const common::Json json = to_json(priced);
  const double device_hours = 1e6 / priced.tokens_per_second_per_gpu / 3600;
  EXPECT_DOUBLE_EQ(json["cost"]["price_per_million_tokens"], 3.0 * device_hours);
  EXPECT_DOUBLE_EQ(json["cost"]["kwh_per_million_tokens"], 0.7 * device_hours);
  EXPECT_EQ(read_estimate(common::JsonObject(json, "estimate")).cost, priced.cost);
  // What earlier versions wrote has none.
  common::Json without = json;
  without.erase("cost");
  EXPECT_EQ(read_estimate(common::JsonObject(without, "estimate")).cost, TokenCost{});
}

}  // namespace
}  // namespace meshplan::planner
