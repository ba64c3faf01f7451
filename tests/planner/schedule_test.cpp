#include "planner/program/schedule.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "planner/cost/times.h"
#include "tests/planner/random_plans.h"
#include "tests/planner/unrolled.h"

namespace meshplan::planner {
namespace {

std::vector<Slot> all_slots(const std::vector<Period>& periods) {
  std::vector<Slot> slots;
  for (const Period& period : periods) {
    for (std::int64_t repetition = 0; repetition < period.count; ++repetition) {
      for (Slot slot : period.slots) {
        for (std::optional<Pass>* pass : {&slot.forward, &slot.backward}) {
          if (*pass) (*pass)->microbatch += repetition * period.microbatch_stride;
        }
        slots.push_back(slot);
      }
    }
  }
  return slots;
}

RC_GTEST_PROP(Schedule, RunsEachPassOnceForwardBeforeBackward, ()) {
  const Plan plan = any_interleaved_plan();
  const std::int64_t passes = plan.layout.accumulation * plan.layout.virtual_stages;
  for (const Stage& stage : stages_of(plan.model, plan.layout)) {
    std::set<std::pair<std::int64_t, std::int64_t>> forward;
    std::set<std::pair<std::int64_t, std::int64_t>> backward;
    std::size_t alive = 0;
    for (const Slot& slot : all_slots(interleaved_schedule(stage, plan.layout))) {
      if (slot.forward)
        RC_ASSERT(forward.emplace(slot.forward->chunk, slot.forward->microbatch).second);
      alive = std::max(alive, forward.size() - backward.size());
      if (!slot.backward) continue;
      const std::pair pass{slot.backward->chunk, slot.backward->microbatch};
      RC_ASSERT(forward.contains(pass));
      RC_ASSERT(backward.insert(pass).second);
    }
    RC_ASSERT(std::ssize(forward) == passes);
    RC_ASSERT(backward == forward);
    // What is held at most: the passes ahead and the one of the first pair.
    const std::int64_t held = std::min(passes, warm_up_passes(stage, plan.layout) + 1);
    RC_ASSERT(static_cast<std::int64_t>(alive) == held);
  }
}

RC_GTEST_PROP(Schedule, OfALongStepIsStoredShort, ()) {
  Plan plan = any_interleaved_plan();
  plan.layout.accumulation *= 1000;
  const Stage stage = stage_at(plan.model, plan.layout, 0);
  std::size_t stored = 0;
  for (const Period& period : interleaved_schedule(stage, plan.layout))
    stored += period.slots.size();
  RC_ASSERT(static_cast<std::int64_t>(stored) <= 9 * stage.count * plan.layout.virtual_stages);
}

/// The instructions of a step but for their microbatches, with what they wait for.
std::vector<Instruction> unrolled(const Plan& plan, std::int64_t stage) {
  return unroll(build_program(plan.model, plan.job, plan.layout, stage));
}

/// Repeated periods are as they would be one by one: every wait is for the instruction that it
/// should be, and each pass of each block runs once for each microbatch.
RC_GTEST_PROP(Schedule, RepeatedPeriodsWaitForTheirOwnGathersAndReductions, ()) {
  Plan plan = any_interleaved_plan();
  plan.layout.accumulation *= *rc::gen::inRange<std::int64_t>(1, 3);
  const std::vector<Instruction> program =
      unrolled(plan, *rc::gen::inRange<std::int64_t>(0, plan.layout.mesh.sizes[Axis::kPp]));
  for (std::size_t i = 0; i < program.size(); ++i) {
    const Instruction& instruction = program[i];
    const auto awaited = [&](int which) -> const Instruction& {
      return program[i -
                     static_cast<std::size_t>(instruction.waits[static_cast<std::size_t>(which)])];
    };
    const bool computes =
        instruction.opcode == Opcode::kForward || instruction.opcode == Opcode::kBackward;
    if (computes && instruction.waits[0] > 0) {
      RC_ASSERT(awaited(0).opcode == Opcode::kGatherParameters);
      RC_ASSERT(awaited(0).unit == instruction.unit);
    }
    if (instruction.retires != kNoUnit) {
      RC_ASSERT(awaited(1).opcode == Opcode::kReduceGradients);
      RC_ASSERT(awaited(1).unit == instruction.retires);
      RC_ASSERT(awaited(1).place == instruction.retires_place);
    }
    RC_ASSERT(instruction.place.first == (instruction.microbatch == 0) ||
              instruction.computation == Computation::kNone);
  }
}

/// A pipeline of blocks that all cost the same, over links that cost nothing.
double step_over_compute(std::int64_t pp, std::int64_t chunks, std::int64_t accumulation) {
  Layout layout = layout_of({});
  layout.mesh.sizes[Axis::kPp] = pp;
  layout.mesh.ranks_per_node = pp;
  layout.virtual_stages = chunks;
  layout.accumulation = accumulation;
  layout.sharding = Sharding::kNoShard;
  ModelSpec model = small_model(2 * pp * chunks);
  model.vocab_size = 1;
  ClusterSpec cluster = cpu_cluster(layout);
  cluster.overlap = 1;
  // The head's multiplies, of one word, cost nothing beside the blocks'.
  cluster.device.matmul = {.ceiling = 1, .half_flops = {}};
  cluster.device.launch_overhead = {};
  cluster.device.memory_bandwidth = common::BytesPerSecond(1e24);
  for (CollectiveCost* cost : {&cluster.intra_node.all_reduce, &cluster.intra_node.all_gather,
                               &cluster.intra_node.reduce_scatter}) {
    *cost = {common::Seconds(0), common::BytesPerSecond(1e24)};
  }
  const Estimate priced = estimate(model, cluster, small_job(), layout);
  EXPECT_TRUE(priced.violations.empty()) << to_string(priced.violations);
  return priced.step_time.value / priced.compute_time.value;
}

TEST(Schedule, HasTheBubbleOfTheClosedForm) {
  double worst = 0;
  for (std::int64_t pp : {2, 3, 4, 8}) {
    for (std::int64_t chunks : {1, 2, 3, 4}) {
      for (std::int64_t rounds : {1, 2, 5, 40}) {
        const double expected =
            1 + static_cast<double>(pp - 1) / static_cast<double>(chunks * rounds * pp);
        const double found = step_over_compute(pp, chunks, rounds * pp);
        worst = std::max(worst, std::abs(found / expected - 1));
      }
    }
  }
  fmt::print(
      "step over compute time, against 1 + (pp - 1) / (v x accumulation): {:.2g} apart, "
      "tolerance 0.001\n",
      worst);
  EXPECT_LT(worst, 0.001);
}

}  // namespace
}  // namespace meshplan::planner
