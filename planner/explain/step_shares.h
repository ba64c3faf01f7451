#pragma once

#include <array>
#include <vector>

#include "planner/search/search.h"

namespace meshplan::planner {

/// What a step's time goes into.
enum class StepPart {
  /// Kernels, less what is below.
  kCompute,
  /// What every kernel costs at least.
  kLaunch,
  /// Gradient norm, clipping and the update.
  kOptimizer,
  /// Compute standing still for, or slowed by, collectives of an axis.
  kTp,
  kDpShard,
  kDpReplicate,
  kCp,
  /// Waiting for other pipeline stages.
  kBubble,
};
inline constexpr std::size_t kStepParts = 8;
/// "compute", "launch", "optimizer", "tp_exposed", ..., "bubble".
const char* to_string(StepPart part);
/// The same for readers: "waiting for tp".
const char* description_of(StepPart part);

/// Time of each part, indexed by StepPart, on the ranks of the stage that computes longest; they
/// sum to the step time.
using StepShares = std::array<common::Seconds, kStepParts>;

/// Requires a priced layout without violations.
StepShares shares_of(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                     const Candidate& candidate);

/// What compute stands still for, or is slowed by, on all axes together.
common::Seconds exposed_time(const Estimate& estimate);

/// The part that takes most.
StepPart largest(const StepShares& shares);

}  // namespace meshplan::planner
