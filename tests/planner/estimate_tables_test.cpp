#include "planner/cost/estimate_tables.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "tests/planner/random_plans.h"

namespace meshplan::planner {
namespace {

/// A plan with regions and numbers of microbatches of any length.
Plan any_long_plan() {
  Plan plan = any_plan();
  plan.model.num_hidden_layers = *rc::gen::inRange<std::int64_t>(1, 60);
  const std::int64_t blocks = plan.model.num_hidden_layers;
  plan.layout.blocks_kept_gathered = *rc::gen::inRange<std::int64_t>(0, blocks + 1);
  if (plan.layout.checkpointed_blocks)
    plan.layout.checkpointed_blocks = *rc::gen::inRange<std::int64_t>(0, blocks + 1);
  plan.layout.accumulation = *rc::gen::inRange<std::int64_t>(1, 40);
  plan.estimate = estimate(plan.model, plan.cluster, plan.job, plan.layout);
  return plan;
}

TEST(EstimateTables, PriceALayoutAsPlayingItsProgramDoes) {
  int priced = 0;
  double worst = 0;
  const bool held = rc::check([&] {
    for (int i = 0; i < 5; ++i) {
      const Plan plan = any_long_plan();
      EstimateTables tables(plan.model, plan.cluster, plan.job);
      // The table is made for another layout of the kind, if there is one.
      Layout other = plan.layout;
      if (other.accumulation > 9) other.accumulation = *rc::gen::inRange<std::int64_t>(9, 60);
      other.blocks_kept_gathered = plan.model.num_hidden_layers / 2;
      tables.price(other);
      const QuickEstimate quick = tables.price(plan.layout);
      ++priced;
      RC_ASSERT(quick.peak_allocated == plan.estimate.memory.peak_allocated);
      RC_ASSERT(total(quick.peak) == quick.peak_allocated);
      for (std::size_t a = 0; a < kAxes.size(); ++a) {
        RC_ASSERT(quick.traffic[a].bytes == plan.estimate.traffic[a].bytes);
        RC_ASSERT(quick.traffic[a].wire_bytes == plan.estimate.traffic[a].wire_bytes);
        RC_ASSERT(quick.traffic[a].operations == plan.estimate.traffic[a].operations);
      }
      const double step = plan.estimate.step_time.value;
      const double difference = std::abs(quick.step_time.value - step) / step;
      worst = std::max(worst, difference);
      RC_ASSERT(difference < 1e-9);
    }
  });
  fmt::print("{} layouts priced: step time {:.2g} apart, tolerance 1e-9\n", priced, worst);
  EXPECT_TRUE(held);
  EXPECT_GE(priced, 400);
}

}  // namespace
}  // namespace meshplan::planner
