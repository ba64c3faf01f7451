#include "planner/cost/estimate_tables.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "tests/planner/random_plans.h"

namespace meshplan::planner {
namespace {

/// A plan over all axes with regions and numbers of microbatches of any length.
Plan any_long_plan() {
  Plan plan = any_plan_over_all_axes();
  const std::int64_t chunks = plan.layout.mesh.sizes[Axis::kPp] * plan.layout.virtual_stages;
  plan.model.num_hidden_layers = *rc::gen::inRange<std::int64_t>(chunks, 60);
  const std::int64_t blocks = plan.model.num_hidden_layers;
  plan.layout.blocks_kept_gathered = *rc::gen::inRange<std::int64_t>(0, blocks + 1);
  if (plan.layout.checkpointed_blocks)
    plan.layout.checkpointed_blocks = *rc::gen::inRange<std::int64_t>(0, blocks + 1);
  plan.layout.accumulation = any_accumulation(plan.layout, 80);
  plan.layout.prefetch_depth = *rc::gen::element<std::int64_t>(1, 1, 1, 0, 2, 3);
  plan.estimate = estimate(plan.model, plan.cluster, plan.job, plan.layout);
  return plan;
}

/// Sizes to the byte; the time's relative difference.
double difference(const QuickEstimate& quick, const Estimate& whole) {
  RC_ASSERT(quick.peak_allocated == whole.memory.peak_allocated);
  RC_ASSERT(quick.peak == whole.memory.breakdown);
  for (std::size_t a = 0; a < kAxes.size(); ++a) {
    RC_ASSERT(quick.traffic[a].bytes == whole.traffic[a].bytes);
    RC_ASSERT(quick.traffic[a].wire_bytes == whole.traffic[a].wire_bytes);
    RC_ASSERT(quick.traffic[a].operations == whole.traffic[a].operations);
  }
  return std::abs(quick.step_time.value / whole.step_time.value - 1);
}

TEST(EstimateTables, PriceALayoutAsPlayingItsProgramDoes) {
  int priced = 0;
  double worst = 0;
  const bool held = rc::check([&] {
    for (int i = 0; i < 5; ++i) {
      const Plan plan = any_long_plan();
      EstimateTables tables(plan.model, plan.cluster, plan.job);
      // The tables have seen another layout of the kind.
      Layout other = plan.layout;
      other.accumulation = any_accumulation(other, 60);
      other.blocks_kept_gathered = plan.model.num_hidden_layers / 2;
      tables.price(other);
      RC_ASSERT(tables.peak_allocated(plan.layout) == plan.estimate.memory.peak_allocated);
      const double apart = difference(tables.price(plan.layout), plan.estimate);
      ++priced;
      worst = std::max(worst, apart);
      RC_ASSERT(apart < 1e-9);
    }
  });
  fmt::print("{} layouts priced: step time {:.2g} apart, tolerance 1e-9\n", priced, worst);
  EXPECT_TRUE(held);
  EXPECT_GE(priced, 400);
}

RC_GTEST_PROP(EstimateTables, PriceManyAsOneByOne, ()) {
  const Plan plan = any_long_plan();
  std::vector<Layout> layouts;
  for (int i = 0; i < 30; ++i) {
    Layout& layout = layouts.emplace_back(plan.layout);
    layout.blocks_kept_gathered = *rc::gen::inRange<std::int64_t>(0, plan.model.num_hidden_layers);
    layout.accumulation = any_accumulation(layout, 9);
    if (*rc::gen::arbitrary<bool>())
      layout.activation_checkpointing = ActivationCheckpointing::kFull;
  }
  std::vector<QuickEstimate> together(layouts.size());
  EstimateTables(plan.model, plan.cluster, plan.job).price(layouts, together);
  EstimateTables tables(plan.model, plan.cluster, plan.job);
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    const QuickEstimate alone = tables.price(layouts[i]);
    RC_ASSERT(together[i].peak == alone.peak);
    RC_ASSERT(std::abs(together[i].step_time.value / alone.step_time.value - 1) < 1e-12);
  }
}

}  // namespace
}  // namespace meshplan::planner
