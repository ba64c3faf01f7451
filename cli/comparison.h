#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>

#include "common/json.h"
#include "formats/recorded_collectives.h"
#include "planner/plan/plan.h"

namespace meshplan::cli {

/// What a rank communicates over one axis in a step. Ranks are alike; measured is the one that is
/// furthest from predicted.
struct AxisComparison {
  common::Bytes predicted;
  common::Bytes measured;
  std::int64_t predicted_operations = 0;
  std::int64_t measured_operations = 0;
};

/// The first place where a rank's collectives are not those of the program.
struct CollectiveDifference {
  std::int64_t rank = 0;
  /// Position in the list.
  std::size_t index = 0;
  /// Nothing where the list has ended.
  std::optional<formats::RecordedCollective> planned;
  std::optional<formats::RecordedCollective> recorded;
};

/// Predicted against measured. Measured memory and time are those of the rank that has most.
struct Comparison {
  std::int64_t ranks = 0;
  std::int64_t steps = 0;
  /// Indexed by Axis.
  std::array<AxisComparison, planner::kAxes.size()> axes;
  /// Collectives of the program's step, and the first difference in order, kind, axis or bytes on
  /// any rank.
  std::size_t collectives = 0;
  std::optional<CollectiveDifference> difference;
  common::Bytes predicted_memory;
  common::Bytes measured_memory;
  /// What the communication library held beside the rank's own tensors; in no prediction.
  common::Bytes communication_memory;
  common::Seconds predicted_step_time;
  /// Medians over the steps.
  common::Seconds measured_step_time;
  double first_loss = 0;
  double last_loss = 0;
};

/// Compares what the plan predicts with what its run recorded. Throws kInvalidInput, naming the
/// file, where the run folder is incomplete or its run was of another model, job or layout.
Comparison compare(const planner::Plan& plan, const std::filesystem::path& run);

/// (measured - predicted) / predicted; nothing where only the prediction is 0.
std::optional<double> relative_difference(double predicted, double measured);

common::Json to_json(const Comparison& comparison);

}  // namespace meshplan::cli
