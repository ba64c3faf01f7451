#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <vector>

namespace meshplan::planner {

/// Programs of layouts that differ in nothing else have more or fewer blocks in so many regions,
/// and more or fewer microbatches in so many runs of the schedule: warm-up, forward and backward
/// passes in turn, cool-down.
inline constexpr std::size_t kRegions = 3;
inline constexpr std::size_t kRuns = 3;
/// The run of forward and backward passes in turn.
inline constexpr std::size_t kInTurn = 1;

/// The regions and runs that a number of repetitions grows with, each by its bit.
using GrowsWith = std::uint8_t;
inline constexpr GrowsWith kConstant = 0;
constexpr GrowsWith bit_of_region(std::size_t region) {
  return static_cast<GrowsWith>(1u << region);
}
constexpr GrowsWith bit_of_run(std::size_t run) { return bit_of_region(kRegions + run); }

/// How many more blocks each region has than a program, and after them how many more microbatches
/// each run.
using Growth = std::array<std::int64_t, kRegions + kRuns>;

struct Repetition {
  std::int64_t count = 1;
  GrowsWith varies = kConstant;

  bool operator==(const Repetition&) const = default;
};

/// The microbatches of a run are phases of their own, but for the third and those like it, which
/// are one.
inline constexpr std::int64_t kMostPhasesOfRun = 4;

/// Lets the phase of each run's microbatches that are alike, if there is one, grow with the run.
/// The first run begins at `phase`.
template <class Phase>
void let_runs_grow(const std::array<std::int64_t, kRuns>& runs, std::size_t phase,
                   std::vector<Phase>& phases) {
  for (std::size_t run = 0; run < kRuns; ++run) {
    if (runs[run] >= kMostPhasesOfRun) phases[phase + 2].repetition.varies = bit_of_run(run);
    phase += static_cast<std::size_t>(std::min(runs[run], kMostPhasesOfRun));
  }
}

inline std::int64_t count_of(const Repetition& repetition, const Growth& growth) {
  std::int64_t count = repetition.count;
  for (unsigned bits = repetition.varies; bits != 0; bits &= bits - 1)
    count += growth[static_cast<std::size_t>(std::countr_zero(bits))];
  return count;
}

/// Products of 1 and the blocks of each region with 1 and the microbatches of each run. What is the
/// same in each repetition sums to a linear form in them.
inline constexpr std::size_t kTerms = (1 + kRegions) * (1 + kRuns);
using Terms = std::array<std::int64_t, kTerms>;

inline Terms terms_of(const Growth& growth) {
  Terms terms{};
  for (std::size_t run = 0; run <= kRuns; ++run) {
    const std::int64_t microbatches = run == 0 ? 1 : growth[kRegions + run - 1];
    const std::size_t first = run * (1 + kRegions);
    terms[first] = microbatches;
    for (std::size_t r = 0; r < kRegions; ++r) terms[first + 1 + r] = microbatches * growth[r];
  }
  return terms;
}

/// How often something is run that is repeated so, in phases that are: a linear form's
/// coefficients.
inline Terms runs_of(const Repetition& phase, const Repetition& segment) {
  Terms runs{};
  for (std::size_t run = 0; run <= kRuns; ++run) {
    const bool grows = run > 0 && (phase.varies & bit_of_run(run - 1)) != 0;
    const std::int64_t phases = run == 0 ? phase.count : (grows ? 1 : 0);
    const std::size_t first = run * (1 + kRegions);
    runs[first] = phases * segment.count;
    for (std::size_t r = 0; r < kRegions; ++r)
      runs[first + 1 + r] = (segment.varies & bit_of_region(r)) != 0 ? phases : 0;
  }
  return runs;
}

}  // namespace meshplan::planner
