#include "planner/cost/times.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "tests/planner/random_plans.h"

namespace meshplan::planner {
namespace {

PricedProgram priced(const Plan& plan) {
  const StepContext context =
      make_step_context(plan.model, plan.job, plan.layout, plan.cluster.device.kind);
  return price_program(context, plan.cluster, build_program(plan.model, plan.job, plan.layout));
}

/// The same program without repetitions, so that nothing is extrapolated.
PricedProgram unrolled(const PricedProgram& program) {
  PricedProgram plain{{}, program.kinds};
  plain.shape.kinds = program.shape.kinds;
  plain.shape.issues = program.shape.issues;
  ShapedSegment& all = plain.shape.phases.emplace_back().segments.emplace_back();
  for (const ShapedPhase& phase : program.shape.phases) {
    for (std::int64_t p = 0; p < phase.repetition.count; ++p) {
      for (const ShapedSegment& segment : phase.segments) {
        for (std::int64_t s = 0; s < segment.repetition.count; ++s) {
          all.instructions.insert(all.instructions.end(), segment.instructions.begin(),
                                  segment.instructions.end());
        }
      }
    }
  }
  return plain;
}

double relative(common::Seconds a, common::Seconds b) {
  return std::abs(a.value - b.value) / std::max(a.value, b.value);
}

/// Extrapolating steady repetitions gives what playing them all gives.
TEST(Times, OfLongProgramsAreThoseOfEveryRepetitionPlayed) {
  double worst = 0;
  const bool held = rc::check([&worst] {
    Plan plan = any_plan();
    plan.model.num_hidden_layers = *rc::gen::inRange<std::int64_t>(1, 40);
    plan.layout.accumulation = *rc::gen::inRange<std::int64_t>(1, 20);
    const PricedProgram program = priced(plan);
    const StepTimes fast = play_times(program);
    const StepTimes plain = play_times(unrolled(program));
    worst = std::max(worst, relative(fast.step, plain.step));
    RC_ASSERT(relative(fast.step, plain.step) < 0.005);
    RC_ASSERT(relative(fast.compute, plain.compute) < 1e-9);
    for (std::size_t a = 0; a < kAxes.size(); ++a) {
      const double difference = std::abs(fast.exposed[a].value - plain.exposed[a].value);
      RC_ASSERT(difference <= 0.005 * plain.step.value);
    }
  });
  fmt::print("largest difference of step time {:.2g}, tolerance 0.005\n", worst);
  EXPECT_TRUE(held);
}

RC_GTEST_PROP(Times, OfAStepAreComputeAndWhatIsExposed, ()) {
  const Estimate priced = any_plan().estimate;
  double sum = priced.compute_time.value;
  for (const AxisTraffic& axis : priced.traffic) {
    RC_ASSERT(axis.exposed.value >= 0);
    RC_ASSERT(axis.exposed.value <= axis.time.value * (1 + 1e-9));
    sum += axis.exposed.value;
  }
  RC_ASSERT(priced.step_time >= priced.compute_time);
  RC_ASSERT(std::abs(priced.step_time.value - sum) <= 1e-6 * priced.step_time.value);
}

/// The last stage computes longest, and sums over tp for each chunk of the loss; the first sends
/// more bytes over tp.
TEST(Times, OfAPipelinesAxesAreThoseOfTheStageThatComputesLongest) {
  Layout layout = layout_of({.dp_shard = 2, .tp = 2});
  layout.mesh.sizes[Axis::kPp] = 2;
  layout.mesh.ranks_per_node = world_size(layout.mesh);
  layout.sequence_parallel = true;
  layout.loss_chunks = 64;
  const Plan plan = plan_of(small_model(8), cpu_cluster(layout), small_job(), layout);
  ASSERT_TRUE(plan.estimate.violations.empty());
  for (const Axis axis : {Axis::kTp, Axis::kDpShard}) {
    const AxisTraffic& traffic = plan.estimate.traffic[static_cast<std::size_t>(axis)];
    EXPECT_GT(traffic.exposed.value, 0);
    EXPECT_LE(traffic.exposed.value, traffic.time.value * (1 + 1e-9)) << to_string(axis);
  }
}

/// 1,000 microbatches are not all played; sums over replicas are made after the last alone.
TEST(Times, OfALongPipelineExposeNoMoreOfAnAxisThanItTakes) {
  Layout layout = layout_of({.dp_replicate = 4, .dp_shard = 2, .tp = 2});
  layout.mesh.sizes[Axis::kPp] = 4;
  layout.mesh.ranks_per_node = world_size(layout.mesh);
  layout.sequence_parallel = true;
  layout.accumulation = 1000;
  const Plan plan = plan_of(small_model(8), cpu_cluster(layout), small_job(), layout);
  ASSERT_TRUE(plan.estimate.violations.empty());
  for (const Axis axis : {Axis::kTp, Axis::kDpShard, Axis::kDpReplicate}) {
    const AxisTraffic& traffic = plan.estimate.traffic[static_cast<std::size_t>(axis)];
    EXPECT_LE(traffic.exposed.value, traffic.time.value) << to_string(axis);
  }
}

RC_GTEST_PROP(Times, NoCommunicationMeansNoneExposed, ()) {
  Plan plan = any_plan();
  plan.layout.mesh.sizes = {};
  const StepTimes times = play_times(priced(plan));
  for (common::Seconds exposed : times.exposed) RC_ASSERT(exposed.value == 0);
  RC_ASSERT(relative(times.step, times.compute) < 1e-9);
}

RC_GTEST_PROP(Times, FasterLinksAndMoreOverlapNeverSlowAStepDown, ()) {
  Plan plan = any_plan();
  const common::Seconds before = play_times(priced(plan)).step;
  plan.cluster.overlap = 1.0;
  const common::Seconds overlapped = play_times(priced(plan)).step;
  scale_latency(plan.cluster, 0.5);
  scale_node_bandwidth(plan.cluster, 2);
  scale_network_bandwidth(plan.cluster, 2);
  const common::Seconds faster = play_times(priced(plan)).step;
  RC_ASSERT(overlapped.value <= before.value * (1 + 1e-9));
  RC_ASSERT(faster.value <= overlapped.value * (1 + 1e-9));
}

}  // namespace
}  // namespace meshplan::planner
