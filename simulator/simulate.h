#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "planner/cost/memory.h"
#include "planner/plan/plan.h"
#include "simulator/engine.h"

namespace meshplan::simulator {

/// One piece of work on a stream of the rank, as it was played.
struct SimulatedSlice {
  planner::Stream stream;
  const char* name;
  Picoseconds start;
  Picoseconds end;
  /// Index into SimulatedStep::instructions.
  std::int32_t instruction;
  /// The collective's axis and bytes; none for kernels.
  std::optional<planner::Axis> axis;
  common::Bytes bytes;
};

/// Memory from this time on.
struct MemorySample {
  Picoseconds time;
  planner::MemoryBreakdown breakdown;
};

/// A training step of one rank: of the pipeline stage that needs most memory, whose ranks are all
/// alike.
struct SimulatedStep {
  std::int64_t stage = 0;
  /// Until the last stage has ended.
  Picoseconds step_time = 0;
  Picoseconds compute_time = 0;
  /// Time during which compute stood still for, or was taken by, collectives of the axis; indexed
  /// by Axis.
  std::array<Picoseconds, planner::kAxes.size()> exposed{};
  planner::MemoryBreakdown peak{};
  common::Bytes peak_memory;
  std::string peak_instruction;
  std::vector<planner::Instruction> instructions;
  std::vector<SimulatedSlice> slices;
  std::vector<MemorySample> memory;
  std::int64_t events = 0;
};

/// Plays the plan's step program for one rank of each pipeline stage, event by event: streams run
/// in order beside each other, a collective starts when its stream is free and the compute work
/// issued before it has ended, compute stands still where it waits for one, and collectives cost
/// what the link that their group spans costs. A stage waits for what its neighbours send. Requires
/// a plan without violations. Throws kInvalidInput when the program has more than 10 million
/// operations or takes more than 5 million seconds.
SimulatedStep simulate(const planner::Plan& plan);

/// The summary as JSON: step_time_s, exposed_s by axis, peak_memory_bytes, events.
common::Json to_json(const SimulatedStep& step);

}  // namespace meshplan::simulator
