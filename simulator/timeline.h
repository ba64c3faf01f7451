#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "planner/cost/memory.h"
#include "simulator/engine.h"

namespace meshplan::simulator {

/// One piece of work on a stream of a rank, as it was played.
struct SimulatedSlice {
  planner::Stream stream = planner::Stream::kCompute;
  const char* name = "";
  Picoseconds start = 0;
  Picoseconds end = 0;
  /// Index into the instructions of the rank's stage.
  std::int32_t instruction = 0;
  /// The collective's axis and bytes; none for kernels.
  std::optional<planner::Axis> axis;
  common::Bytes bytes;
};

/// Memory from this time on.
struct MemorySample {
  Picoseconds time = 0;
  planner::MemoryBreakdown breakdown{};
};

/// The most that a rank holds in a step.
struct SimulatedPeak {
  planner::MemoryBreakdown breakdown{};
  common::Bytes total;
  Picoseconds time = 0;
  /// Index into the instructions of the rank's stage.
  std::size_t instruction = 0;
};

/// What one rank does in a step.
struct RankTimeline {
  std::int64_t rank = 0;
  std::size_t stage = 0;
  std::vector<SimulatedSlice> slices;
  std::vector<MemorySample> memory;
  SimulatedPeak peak;
  /// By instruction: when compute was through with it, what it waited for included.
  std::vector<Picoseconds> instruction_ends;
};

/// When each operation that takes time began and ended on a rank, and memory beside it. The place
/// has to be one that the engine watched; `with_slices` false: memory's peak alone.
RankTimeline timeline_of(const Score& score, const Engine& engine, Place place, bool with_slices);

}  // namespace meshplan::simulator
