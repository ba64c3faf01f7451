#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "planner/plan/plan.h"
#include "simulator/critical_path.h"
#include "simulator/scenario.h"
#include "simulator/timeline.h"

namespace meshplan::simulator {

/// How a step is to be played.
struct SimulationRequest {
  Scenario scenario;
  /// Play every rank, and not one for all that are alike. A scenario that tells them apart does so
  /// anyway.
  bool every_rank = false;
  /// Ranks whose timelines are kept.
  std::vector<std::int64_t> timelines = {};
  /// Called now and then with the part that is done.
  std::function<void(double)> progress = {};
};

/// A rank that computes longest or shortest.
struct ComputingRank {
  std::int64_t rank = 0;
  Picoseconds compute = 0;
};

/// A training step. Where nothing else is said, times are means over the ranks of the pipeline
/// stage that computes longest, and memory is that of the stage that needs most, as in an estimate.
struct SimulatedStep {
  /// These stages.
  std::int64_t computing_stage = 0;
  std::int64_t stage = 0;
  /// Until the last rank has ended.
  Picoseconds step_time = 0;
  /// Of kernels.
  Picoseconds compute_time = 0;
  /// Time during which compute stood still for, or was taken by, collectives of the axis; indexed
  /// by Axis.
  std::array<Picoseconds, planner::kAxes.size()> exposed{};
  /// How much longer collectives of a stage take, all together, because they share links; of the
  /// stage where that is most.
  Picoseconds shared_links = 0;
  /// Part of the step that ranks wait for other pipeline stages, or for the step's end, over all
  /// stages.
  double bubble = 0;

  /// Of the stage's first rank.
  planner::MemoryBreakdown peak{};
  common::Bytes peak_memory;
  std::string peak_instruction;
  Picoseconds peak_time = 0;

  /// Ranks that were played, and that stand for themselves alone.
  std::int64_t ranks = 0;
  bool every_rank = false;
  ComputingRank slowest;
  ComputingRank fastest;
  /// Nothing where the step was too long to remember it.
  std::optional<CriticalPath> critical_path;
  std::int64_t events = 0;

  /// By pipeline stage: what its ranks do, what their times are by place, and the most that its
  /// first rank holds.
  std::vector<std::vector<planner::Instruction>> instructions;
  std::vector<StageTimes> times;
  std::vector<SimulatedPeak> peaks;
  std::vector<RankTimeline> timelines;
};

/// Plays the plan's step program event by event: streams of a rank run in order beside each other,
/// a collective starts when its stream is free and the compute work issued before it has ended on
/// all of its members, compute stands still where it waits for one, and a stage waits for what its
/// neighbours send. Collectives cost what the plan's cluster says, times what the scenario does to
/// their links. Requires a plan without violations. Throws kInvalidInput for a scenario out of its
/// range, and when the program has more than 10 million operations, takes more than 5 million
/// seconds, or is too long to be played for every rank.
SimulatedStep simulate(const planner::Plan& plan, const SimulationRequest& request = {});

/// The summary as JSON: step_time_s, exposed_s by axis, peak_memory_bytes, critical_path, events.
common::Json to_json(const SimulatedStep& step);

}  // namespace meshplan::simulator
