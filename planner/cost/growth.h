#pragma once

#include <array>
#include <cstdint>

namespace meshplan::planner {

/// Programs of layouts that differ in nothing else have more or fewer blocks in so many regions, and
/// more or fewer microbatches.
inline constexpr std::size_t kRegions = 3;

/// What a number of repetitions grows with: nothing, the blocks of a region (its index), or the
/// microbatches.
inline constexpr int kConstant = -1;
inline constexpr int kMicrobatches = static_cast<int>(kRegions);

/// How many more blocks each region has than a program, and how many more microbatches, by the
/// number that Repetition::varies is.
using Growth = std::array<std::int64_t, kRegions + 1>;

struct Repetition {
  std::int64_t count = 1;
  int varies = kConstant;

  bool operator==(const Repetition&) const = default;
};

inline std::int64_t count_of(const Repetition& repetition, const Growth& growth) {
  if (repetition.varies == kConstant) return repetition.count;
  return repetition.count + growth[static_cast<std::size_t>(repetition.varies)];
}

/// Products of 1 and the blocks of each region with 1 and the microbatches. What is the same in
/// each repetition sums to a linear form in them.
inline constexpr std::size_t kTerms = 2 * (kRegions + 1);
using Terms = std::array<std::int64_t, kTerms>;

inline Terms terms_of(const Growth& growth) {
  Terms terms{};
  for (std::size_t m : {std::size_t{0}, kTerms / 2}) {
    const std::int64_t microbatches = m == 0 ? 1 : growth[kMicrobatches];
    terms[m] = microbatches;
    for (std::size_t r = 0; r < kRegions; ++r) terms[m + 1 + r] = microbatches * growth[r];
  }
  return terms;
}

/// How often something is run that is repeated so, in phases that are: a linear form's coefficients.
inline Terms runs_of(const Repetition& phase, const Repetition& segment) {
  const auto add_segment = [&segment](Terms& runs, std::size_t at, std::int64_t times) {
    runs[at] += times * segment.count;
    if (segment.varies != kConstant)
      runs[at + 1 + static_cast<std::size_t>(segment.varies)] += times;
  };
  Terms runs{};
  add_segment(runs, 0, phase.count);
  if (phase.varies != kConstant) add_segment(runs, kTerms / 2, 1);
  return runs;
}

}  // namespace meshplan::planner
