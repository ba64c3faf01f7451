#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "formats/chrome_trace.h"
#include "simulator/rank_groups.h"
#include "simulator/simulate.h"
#include "tests/planner/random_plans.h"
#include "tests/planner/unrolled.h"
#include "tests/simulator/contended_plans.h"
#include "tests/simulator/event_queue.h"

namespace meshplan::simulator {
namespace {

using planner::Axis;
using planner::OperationKind;
using planner::Plan;
using planner::Stream;

/// Layouts that the properties are tried on; RC_PARAMS=max_success=... in the environment makes
/// them more.
constexpr int kPlansATry = 10;

SimulationRequest every_rank() {
  SimulationRequest request;
  request.every_rank = true;
  return request;
}

RC_GTEST_PROP(EveryRank, EqualsOneRankForAllWhereAllAreAlike, ()) {
  for (int i = 0; i < kPlansATry; ++i) {
    const Plan plan = i % 2 == 0 ? planner::any_plan_over_all_axes() : any_contended_plan();
    SimulationRequest request;
    request.scenario.shared_links = i % 2 == 1;
    const SimulatedStep folded = simulate(plan, request);
    request.every_rank = true;
    const SimulatedStep every = simulate(plan, request);
    RC_ASSERT(!folded.every_rank && every.every_rank);
    RC_ASSERT(every.ranks == planner::world_size(plan.layout.mesh));
    RC_ASSERT(every.step_time == folded.step_time);
    RC_ASSERT(every.compute_time == folded.compute_time);
    RC_ASSERT(every.exposed == folded.exposed);
    RC_ASSERT(every.peak == folded.peak);
    RC_ASSERT(every.peak_time == folded.peak_time);
    RC_ASSERT(every.peak_instruction == folded.peak_instruction);
    RC_ASSERT(to_json(*every.critical_path) == to_json(*folded.critical_path));
    const std::int64_t stage_ranks = every.ranks / folded.ranks;
    RC_ASSERT(every.events == folded.events * stage_ranks);
    for (std::size_t s = 0; s < every.times.size(); ++s) {
      for (std::size_t r = 0; r < every.times[s].end.size(); ++r) {
        RC_ASSERT(every.times[s].end[r] == folded.times[s].end[0]);
        RC_ASSERT(every.times[s].compute[r] == folded.times[s].compute[0]);
      }
    }
  }
}

RC_GTEST_PROP(EveryRank, CriticalPathAddsUpToTheStep, ()) {
  const Plan plan = planner::any_plan_over_all_axes();
  SimulationRequest request = every_rank();
  request.scenario.speed_spread = *rc::gen::element(0.0, 0.03);
  request.scenario.jitter = *rc::gen::element(0.0, 0.1);
  request.scenario.no_overlap = *rc::gen::arbitrary<bool>();
  const SimulatedStep step = simulate(plan, request);
  RC_ASSERT(step.critical_path.has_value());
  Picoseconds sum = 0;
  for (const PathPart& part : step.critical_path->parts) {
    RC_ASSERT(part.time > 0);
    sum += part.time;
  }
  RC_ASSERT(sum == step.step_time);
  Picoseconds reached = 0;
  for (const PathStretch& stretch : step.critical_path->stretches) {
    RC_ASSERT(stretch.start == reached && stretch.end > reached);
    reached = stretch.end;
  }
  RC_ASSERT(reached == step.step_time);
}

RC_GTEST_PROP(EveryRank, HasAnEventForEachCollectiveOfEachRank, ()) {
  const Plan plan = planner::any_plan_of_any_architecture();
  std::int64_t collectives = 0;
  for (const planner::Operations& operations : planner::unrolled_step(plan).operations) {
    collectives +=
        std::ranges::count(operations, OperationKind::kCollective, &planner::Operation::kind);
  }
  RC_ASSERT(simulate(plan, every_rank()).events >=
            planner::world_size(plan.layout.mesh) * collectives);
}

/// Turns what the ranks of a step do into one graph of tasks: every kernel, every collective of
/// every rank by itself, and before a collective a task that waits for all of its members.
class ReferenceStep {
 public:
  ReferenceStep(const Plan& plan, const Scenario& scenario)
      : plan_(plan),
        factors_(kernel_factors(scenario, plan.layout.mesh)),
        ranks_(planner::world_size(plan.layout.mesh)),
        graph_(static_cast<std::int32_t>(ranks_ * kStreams)) {}

  std::int64_t tasks() const { return static_cast<std::int64_t>(graph_.size()); }

  /// Requires one pipeline stage.
  std::vector<Picoseconds> ends() {
    const planner::UnrolledStep step = planner::unrolled_step(plan_);
    for (std::size_t i = 0; i < step.instructions.size(); ++i) {
      for (std::int64_t distance : step.instructions[i].waits) {
        if (distance == 0) continue;
        wait_for(collectives_[i - static_cast<std::size_t>(distance)]);
      }
      add(step.operations[i]);
    }
    const TaskTimes times = play(graph_);
    std::vector<Picoseconds> ends(static_cast<std::size_t>(ranks_));
    for (std::int64_t rank = 0; rank < ranks_; ++rank) {
      for (std::int32_t stream = 0; stream < kStreams; ++stream) {
        const TaskId last = graph_.last(queue(rank, stream));
        if (last == kNoTask) continue;
        auto& end = ends[static_cast<std::size_t>(rank)];
        end = std::max(end, times.end[static_cast<std::size_t>(last)]);
      }
    }
    return ends;
  }

 private:
  static constexpr std::int32_t kStreams = static_cast<std::int32_t>(planner::kStreams);
  /// A collective's task on each rank.
  using Issued = std::vector<TaskId>;

  std::int32_t queue(std::int64_t rank, std::int32_t stream) const {
    return static_cast<std::int32_t>(rank) * kStreams + stream;
  }
  std::int32_t compute(std::int64_t rank) const {
    return queue(rank, static_cast<std::int32_t>(Stream::kCompute));
  }

  void add(const planner::Operations& operations) {
    std::vector<Issued>& collectives = collectives_.emplace_back();
    std::vector<Issued> issued(operations.size());
    for (std::size_t i = 0; i < operations.size(); ++i) {
      const planner::Operation& operation = operations[i];
      const planner::Price price =
          planner::price(plan_.cluster, plan_.layout.mesh, plan_.job.param_dtype, operation);
      if (operation.kind == OperationKind::kKernel) {
        for (std::int64_t rank = 0; rank < ranks_; ++rank)
          graph_.add(compute(rank), scaled(formats::to_picoseconds(price.duration),
                                           factors_[static_cast<std::size_t>(rank)]));
      } else if (operation.kind == OperationKind::kCollective) {
        collectives.push_back(issued[i] = add_collective(operation, price));
      } else if (operation.kind == OperationKind::kWait) {
        wait_for({issued[static_cast<std::size_t>(operation.awaited)]});
      }
    }
  }

  std::vector<std::int64_t> members(const planner::Operation& operation, std::int64_t rank) const {
    if (operation.collective == planner::CollectiveKind::kSend && operation.bytes.value > 0)
      return {rank};
    const RankGroups groups = rank_groups(plan_.layout.mesh, operation.axis, ranks_);
    const std::int64_t number = rank / groups.stride % groups.size;
    std::vector<std::int64_t> members;
    for (std::int64_t other = 0; other < groups.size; ++other)
      members.push_back(rank + (other - number) * groups.stride);
    return members;
  }

  Issued add_collective(const planner::Operation& operation, const planner::Price& price) {
    const auto stream = static_cast<std::int32_t>(operation.stream);
    Issued gates;
    for (std::int64_t rank = 0; rank < ranks_; ++rank) {
      const TaskId before = graph_.last(compute(rank));
      gates.push_back(graph_.add(queue(rank, stream), 0));
      if (before != kNoTask && operation.stream != Stream::kCompute)
        graph_.wait_for(gates.back(), before);
    }
    Issued issued;
    for (std::int64_t rank = 0; rank < ranks_; ++rank) {
      issued.push_back(graph_.add(queue(rank, stream), formats::to_picoseconds(price.duration)));
      for (std::int64_t member : members(operation, rank))
        graph_.wait_for(issued.back(), gates[static_cast<std::size_t>(member)]);
      if (price.taken_from_compute.value > 0)
        graph_.add(compute(rank), formats::to_picoseconds(price.taken_from_compute));
    }
    return issued;
  }

  void wait_for(const std::vector<Issued>& collectives) {
    for (const Issued& issued : collectives) {
      for (std::int64_t rank = 0; rank < ranks_; ++rank)
        graph_.wait_for(graph_.add(compute(rank), 0), issued[static_cast<std::size_t>(rank)]);
    }
  }

  const Plan& plan_;
  std::vector<Millionths> factors_;
  std::int64_t ranks_;
  TaskGraph graph_;
  std::vector<std::vector<Issued>> collectives_;
};

/// A queue of events, which knows nothing of the order of programs nor of shared links, ends every
/// rank's step at the same time. Where ranks differ the simulator rounds kernels together and the
/// queue one by one.
RC_GTEST_PROP(EveryRank, EndsAsAQueueOfEventsDoes, ()) {
  const Plan plan = planner::any_plan_of_any_architecture();
  SimulationRequest request = every_rank();
  const bool differ = *rc::gen::arbitrary<bool>();
  if (differ) {
    request.scenario.speed_spread = 0.05;
    const auto rank = *rc::gen::inRange<std::int64_t>(0, planner::world_size(plan.layout.mesh));
    request.scenario.slow_ranks = {{rank, 1.5}};
  }
  const SimulatedStep step = simulate(plan, request);
  ReferenceStep reference(plan, request.scenario);
  const std::vector<Picoseconds> expected = reference.ends();
  for (std::size_t rank = 0; rank < expected.size(); ++rank) {
    const Picoseconds apart = step.times.front().end[rank] - expected[rank];
    RC_ASSERT(std::abs(apart) <= (differ ? reference.tasks() : 0));
  }
}

}  // namespace
}  // namespace meshplan::simulator
