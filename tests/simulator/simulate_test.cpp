#include "simulator/simulate.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <numeric>

#include "planner/search/search.h"
#include "tests/common/expect_error.h"
#include "tests/planner/model_configs.h"
#include "tests/planner/random_plans.h"
#include "tests/planner/unrolled.h"

namespace meshplan::simulator {
namespace {

using planner::Axis;
using planner::kAxes;
using planner::Plan;

/// With the timeline of the first rank.
SimulatedStep simulate_with_timeline(const Plan& plan) {
  SimulationRequest request;
  request.timelines = {0};
  return simulate(plan, request);
}

RC_GTEST_PROP(Simulate, PeakOfMemoryIsTheEstimates, ()) {
  const Plan plan = planner::any_plan_of_any_architecture();
  const SimulatedStep step = simulate(plan);
  RC_ASSERT(step.peak_memory == plan.estimate.memory.peak_allocated);
  RC_ASSERT(step.peak == plan.estimate.memory.breakdown);
  RC_ASSERT(step.peak_instruction == plan.estimate.memory.peak_instruction);
}

RC_GTEST_PROP(Simulate, PlaysTheFeedForwardDemoAsItIsPriced, ()) {
  const Plan plan = planner::any_feed_forward_plan();
  RC_ASSERT(plan.estimate.violations.empty());
  const SimulatedStep step = simulate(plan);
  RC_ASSERT(step.peak == plan.estimate.memory.breakdown);
  RC_ASSERT(step.peak_instruction == plan.estimate.memory.peak_instruction);
  const double priced = plan.estimate.step_time.value;
  RC_ASSERT(std::abs(seconds(step.step_time) - priced) <= 1e-2 * priced);
}

RC_GTEST_PROP(Simulate, MemoryStartsAndEndsWithWhatPersists, ()) {
  const Plan plan = planner::any_plan_of_any_architecture();
  const SimulatedStep step = simulate_with_timeline(plan);
  const std::vector<MemorySample>& memory = step.timelines.front().memory;
  const planner::MemoryBreakdown persistent =
      planner::persistent_breakdown(planner::unrolled_step(plan).context);
  RC_ASSERT(!memory.empty());
  RC_ASSERT(memory.back().breakdown == persistent);
  Picoseconds reached = -1;
  common::Bytes highest;
  for (const MemorySample& sample : memory) {
    RC_ASSERT(sample.time > reached);
    reached = sample.time;
    highest = std::max(highest, planner::total(sample.breakdown));
  }
  RC_ASSERT(memory.front().time == 0);
  RC_ASSERT(reached <= step.step_time);
  RC_ASSERT(highest <= step.peak_memory);
}

/// The largest disagreement of simulator and cost model so far, relative to the step time.
struct Worst {
  double step = 0;
  double compute = 0;
  double exposed = 0;
  int plans = 0;

  void compare(const Plan& plan) {
    const SimulatedStep simulated = simulate(plan);
    const planner::Estimate& priced = plan.estimate;
    const auto note = [&](double& worst, double simulated_time, double estimated_time) {
      worst = std::max(worst, std::abs(simulated_time - estimated_time) / priced.step_time.value);
    };
    note(step, seconds(simulated.step_time), priced.step_time.value);
    note(compute, seconds(simulated.compute_time), priced.compute_time.value);
    for (std::size_t a = 0; a < kAxes.size(); ++a) {
      note(exposed, seconds(simulated.exposed[a]), priced.traffic[a].exposed.value);
    }
    ++plans;
  }

  void expect_within(double tolerance) const {
    fmt::print(
        "over {} layouts, relative to the step time: step {:.2g}, compute {:.2g}, exposed on an "
        "axis "
        "{:.2g}; tolerance {:.2g}\n",
        plans, step, compute, exposed, tolerance);
    EXPECT_LT(step, tolerance);
    EXPECT_LT(compute, tolerance);
    EXPECT_LT(exposed, tolerance);
  }
};

/// Kernels of small models last microseconds, so that rounding to picoseconds can be seen.
constexpr double kTolerance = 1e-4;

TEST(Simulate, TimesAgreeWithTheEstimatesOnRandomLayouts) {
  Worst worst;
  const bool held = rc::check([&worst] {
    for (int i = 0; i < 3; ++i) worst.compare(planner::any_plan_of_any_architecture());
  });
  EXPECT_TRUE(held);
  EXPECT_GE(worst.plans, 200);
  worst.expect_within(kTolerance);
}

/// Over pipeline and context as well, and with every option: every stage is played here, waiting
/// for its neighbours' messages, and the estimate extrapolates that. RC_PARAMS=max_success=1000 in
/// the environment makes it 10,000 layouts; docs/planning.md has the result.
TEST(Simulate, AgreesWithTheEstimatesOverAllAxes) {
  double worst = 0;
  double single = 0;
  int plans = 0;
  int interleaved = 0;
  const bool held = rc::check([&] {
    for (int i = 0; i < 10; ++i) {
      Plan plan = planner::any_plan_over_all_axes();
      if (*rc::gen::arbitrary<bool>())
        plan.layout.accumulation = *rc::gen::inRange<std::int64_t>(1, 60);
      const std::int64_t pp = plan.layout.mesh.sizes[Axis::kPp];
      if (plan.layout.virtual_stages > 1)
        plan.layout.accumulation = (plan.layout.accumulation + pp - 1) / pp * pp;
      plan.layout.prefetch_depth = *rc::gen::element<std::int64_t>(1, 1, 0, 2, 3);
      plan.estimate = planner::estimate(plan.model, plan.cluster, plan.job, plan.layout);
      RC_ASSERT(plan.estimate.violations.empty());
      const SimulatedStep step = simulate(plan);
      RC_ASSERT(step.peak_memory == plan.estimate.memory.peak_allocated);
      RC_ASSERT(step.peak == plan.estimate.memory.breakdown);
      RC_ASSERT(step.stage == plan.estimate.memory.peak_stage);
      const double estimated = plan.estimate.step_time.value;
      const double difference = std::abs(seconds(step.step_time) - estimated) / estimated;
      double& apart = plan.layout.mesh.sizes[Axis::kPp] == 1 ? single : worst;
      apart = std::max(apart, difference);
      ++plans;
      if (plan.layout.virtual_stages > 1) ++interleaved;
    }
  });
  fmt::print(
      "over {} layouts of all axes ({} interleaved): step {:.2g} of itself apart with a pipeline, "
      "{:.2g} without; tolerance 0.03\n",
      plans, interleaved, worst, single);
  EXPECT_TRUE(held);
  EXPECT_GE(plans, 1000);
  EXPECT_LT(worst, 0.03);
  EXPECT_LT(single, kTolerance);
}

/// Of every imported family, among them all that the executor does not train; experts are shared
/// out, and tensors split where heads can be.
TEST(Simulate, PlaysEveryPublishedModelAsItIsPriced) {
  Worst worst;
  for (const common::JsonObject& json : planner::published_models()) {
    const planner::ModelSpec model = planner::read(json.at("config"));
    const std::int64_t tp =
        model.num_key_value_heads % 2 == 0 && model.num_attention_heads % 2 == 0 ? 2 : 1;
    planner::Layout layout = planner::layout_of({.dp_shard = 8, .tp = tp});
    layout.sequence_parallel = tp > 1;
    layout.activation_checkpointing = planner::ActivationCheckpointing::kFull;
    layout.checkpointed_blocks = model.num_hidden_layers / 2;
    layout.mesh.ranks_per_node = 8;
    layout.mesh.expert_parallel = std::gcd(model.moe.num_experts, std::int64_t{4});
    if (model.moe.num_experts == 0) layout.mesh.expert_parallel = 1;
    planner::ClusterSpec cluster = planner::load_cluster("h100-sxm");
    cluster.nodes = tp;
    const Plan plan = planner::plan_of(model, cluster, planner::small_job(), layout);
    ASSERT_THAT(plan.estimate.violations, testing::IsEmpty()) << json.text("name");
    EXPECT_EQ(simulate(plan).peak, plan.estimate.memory.breakdown) << json.text("name");
    worst.compare(plan);
  }
  EXPECT_GE(worst.plans, 40);
  worst.expect_within(kTolerance);
}

/// Long ones too, which the estimate extrapolates.
TEST(Simulate, AgreesWithTheEstimatesOfInterleavedStages) {
  double worst = 0;
  double compute = 0;
  int extrapolated = 0;
  const bool held = rc::check([&] {
    Plan plan = planner::any_interleaved_plan();
    const std::int64_t pp = plan.layout.mesh.sizes[Axis::kPp];
    if (*rc::gen::arbitrary<bool>())
      plan.layout.accumulation = pp * *rc::gen::inRange<std::int64_t>(10, 30);
    if (plan.layout.accumulation > (8 + (15 + pp) / pp) * pp) ++extrapolated;
    plan.estimate = planner::estimate(plan.model, plan.cluster, plan.job, plan.layout);
    RC_ASSERT(plan.estimate.violations.empty());
    const SimulatedStep step = simulate(plan);
    RC_ASSERT(step.peak == plan.estimate.memory.breakdown);
    RC_ASSERT(step.stage == plan.estimate.memory.peak_stage);
    const double estimated = plan.estimate.step_time.value;
    worst = std::max(worst, std::abs(seconds(step.step_time) / estimated - 1));
    compute = std::max(compute,
                       std::abs(seconds(step.compute_time) / plan.estimate.compute_time.value - 1));
  });
  fmt::print(
      "over 100 interleaved layouts, {} extrapolated: step {:.2g} of itself apart; tolerance "
      "0.03\n",
      extrapolated, worst);
  EXPECT_TRUE(held);
  EXPECT_GE(extrapolated, 10);
  EXPECT_LT(worst, 0.03);
  EXPECT_LT(compute, kTolerance);
}

TEST(Simulate, TimesAgreeWithTheEstimatesOnEveryLayoutOfASearch) {
  Worst worst;
  for (const auto& [name, nodes] : {std::pair{"llama-3-8b", 2}, {"qwen2.5-0.5b", 1}}) {
    Plan plan{.model = planner::load_model(name),
              .model_source = name,
              .cluster = planner::load_cluster("h100-sxm"),
              .job = {},
              .layout = {},
              .estimate = {}};
    plan.cluster.nodes = nodes;
    plan.job.seq_length = 4096;
    plan.job.param_dtype = common::DataType::kBfloat16;
    planner::SearchRequest request;
    request.base.accumulation = 6;
    const planner::SearchResult found =
        planner::search(plan.model, plan.cluster, plan.job, request);
    ASSERT_FALSE(found.ranked.empty());
    for (const auto& [layout, estimate] : found.ranked) {
      plan.layout = layout;
      plan.estimate = estimate;
      worst.compare(plan);
    }
  }
  worst.expect_within(kTolerance);
}

RC_GTEST_PROP(Simulate, StepIsComputeAndWhatIsExposed, ()) {
  const SimulatedStep step = simulate(planner::any_plan_of_any_architecture());
  Picoseconds sum = step.compute_time;
  for (Picoseconds exposed : step.exposed) {
    RC_ASSERT(exposed >= 0);
    sum += exposed;
  }
  RC_ASSERT(sum == step.step_time);
}

RC_GTEST_PROP(Simulate, SlicesAreTheProgramsKernelsAndCollectivesInOrder, ()) {
  const Plan plan = planner::any_plan_of_any_architecture();
  const planner::UnrolledStep unrolled = planner::unrolled_step(plan);
  std::vector<std::pair<const char*, common::Bytes>> expected;
  for (const planner::Operations& operations : unrolled.operations) {
    for (const planner::Operation& operation : operations) {
      const bool takes_time = operation.kind == planner::OperationKind::kKernel ||
                              operation.kind == planner::OperationKind::kCollective;
      if (takes_time) expected.emplace_back(operation.name, operation.bytes);
    }
  }
  std::vector<std::pair<const char*, common::Bytes>> played;
  const SimulatedStep step = simulate_with_timeline(plan);
  for (const SimulatedSlice& slice : step.timelines.front().slices) {
    RC_ASSERT(slice.start >= 0 && slice.end > slice.start);
    if (std::string(slice.name) != "taken by collective") {
      played.emplace_back(slice.name, slice.bytes);
    }
  }
  RC_ASSERT(played.size() == expected.size());
  for (std::size_t i = 0; i < played.size(); ++i) {
    RC_ASSERT(std::string(played[i].first) == expected[i].first);
    RC_ASSERT(played[i].second == expected[i].second);
  }
}

RC_GTEST_PROP(Simulate, GivesTheSameTwice, ()) {
  const Plan plan = planner::any_plan_of_any_architecture();
  RC_ASSERT(to_json(simulate(plan)) == to_json(simulate(plan)));
}

TEST(Simulate, AgreesWithTheEstimateAtEveryPrefetchDepth) {
  planner::Layout layout = planner::layout_of({.dp_replicate = 2, .dp_shard = 4, .tp = 2});
  layout.sharding = planner::Sharding::kHybridShard;
  layout.gradient_accumulation = planner::GradientAccumulation::kUnsharded;
  layout.accumulation = 3;
  double worst = 0;
  for (layout.prefetch_depth = 0; layout.prefetch_depth <= 3; ++layout.prefetch_depth) {
    for (layout.blocks_kept_gathered = 0; layout.blocks_kept_gathered <= 8;
         ++layout.blocks_kept_gathered) {
      const Plan plan = planner::plan_of(planner::small_model(8), planner::cpu_cluster(layout),
                                         planner::small_job(), layout);
      const double estimated = plan.estimate.step_time.value;
      worst = std::max(worst, std::abs(seconds(simulate(plan).step_time) - estimated) / estimated);
    }
  }
  fmt::print("step {:.2g} of itself apart, tolerance {}\n", worst, kTolerance);
  EXPECT_LT(worst, kTolerance);
}

TEST(Simulate, ItsJsonHasItsKeys) {
  const planner::Layout layout = planner::layout_of({.dp_shard = 2, .tp = 2});
  const Plan plan = planner::plan_of(planner::small_model(), planner::cpu_cluster(layout),
                                     planner::small_job(), layout);
  const common::Json json = to_json(simulate(plan));
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  EXPECT_THAT(keys, testing::ElementsAre(
                        "schema_version", "step_time_s", "compute_s", "exposed_s", "shared_links_s",
                        "pipeline_bubble", "peak_memory_bytes", "peak_memory", "peak_instruction",
                        "peak_time_s", "stage", "computing_stage", "every_rank", "ranks",
                        "slowest_rank", "fastest_rank", "critical_path", "instructions", "events"));
  EXPECT_EQ(json["peak_memory_bytes"], plan.estimate.memory.peak_allocated.value);
  EXPECT_EQ(json["exposed_s"].size(), planner::kMeshAxes.size());
}

TEST(Simulate, RefusesStepsBeyondItsMemory) {
  planner::Layout layout = planner::layout_of({.dp_shard = 2});
  layout.accumulation = 1 << 20;
  const Plan plan = planner::plan_of(planner::small_model(), planner::cpu_cluster(layout),
                                     planner::small_job(), layout);
  ASSERT_TRUE(plan.estimate.violations.empty());
  tests::expect_error(
      common::ErrorCode::kInvalidInput, [&] { simulate(plan); }, "operations; at most 10000000",
      "smaller accumulation");
}

TEST(Simulate, RefusesStepsBeyondItsClock) {
  const planner::Layout layout = planner::layout_of({.dp_shard = 2});
  Plan plan = planner::plan_of(planner::small_model(), planner::cpu_cluster(layout),
                               planner::small_job(), layout);
  plan.cluster.device.memory_bandwidth = common::BytesPerSecond(1);
  tests::expect_error(
      common::ErrorCode::kInvalidInput, [&] { simulate(plan); }, "simulator",
      "correct the cluster's rates");
}

}  // namespace
}  // namespace meshplan::simulator
