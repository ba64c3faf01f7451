#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "common/json.h"
#include "common/units.h"

namespace meshplan::formats {

/// What one training step reports. Numbers that are not finite (a diverged loss) are null in the
/// file, as JSON has no other word for them, and are read back as NaN.
struct StepMetrics {
  std::int64_t step = 0;
  std::int64_t epoch = 0;
  double loss = 0;
  double grad_norm = 0;
  double learning_rate = 0;
  /// Of the step alone, without the wait for its data.
  common::Seconds step_time;
  /// Over all ranks, padding included.
  double tokens_per_second = 0;
  /// Model FLOPs of a rank over its device's peak in param_dtype and the step's time, as in
  /// planner::Estimate.
  double mfu = 0;
  /// The wait for the step's data, as a part of wait and step together.
  double data_wait_share = 0;
  /// Of rank 0: the most tensors held at once since the run's start, what they hold now, and what
  /// the allocator keeps for them.
  common::Bytes peak_memory = {};
  common::Bytes active_memory = {};
  common::Bytes reserved_memory = {};
  /// Mean loss over the validation data after this step, on the steps that have one.
  std::optional<double> validation_loss = std::nullopt;

  bool operator==(const StepMetrics&) const = default;
};

/// What one pass over the data reports.
struct EpochMetrics {
  std::int64_t epoch = 0;
  std::int64_t steps = 0;
  /// Average of the steps' losses.
  double loss = 0;
  common::Seconds time;
};

/// A line of metrics.jsonl, and of epochs.jsonl.
common::Json to_json(const StepMetrics& metrics);
common::Json to_json(const EpochMetrics& metrics);

/// The steps of a metrics.jsonl. Throws kIo where it cannot be read and kInvalidInput, naming line
/// and field.
std::vector<StepMetrics> read_metrics(const std::filesystem::path& path);

}  // namespace meshplan::formats
