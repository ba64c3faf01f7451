#pragma once

#include <cstdint>
#include <vector>

#include "planner/cost/program_cost.h"
#include "planner/program/step_context.h"

namespace meshplan::planner {

/// What kinds of instruction cost on the ranks of a stage, and what it holds all through the step:
/// the same for all layouts that differ in the lengths of their programs alone.
class StageCosts {
 public:
  explicit StageCosts(StepContext context);

  /// In a step of so many microbatches.
  ByteCounts held(std::int64_t microbatches) const;

  /// Works out the cost of a kind, which has this number; false when it is known.
  bool learn(const ClusterSpec& cluster, std::size_t number, const Instruction& kind);

  /// Requires that it was learned; valid until another is.
  const KindCost& operator[](std::size_t number) const { return costs_[known_[number]]; }

 private:
  StepContext context_;
  ByteCounts held_{};
  ByteCounts held_per_microbatch_{};
  /// The index of a kind's cost, by its number.
  std::vector<std::uint16_t> known_;
  std::vector<KindCost> costs_;
};

}  // namespace meshplan::planner
