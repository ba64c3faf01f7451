#pragma once

#include <c10/core/Device.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "executor/checkpoint/checkpoints.h"
#include "executor/comm/collective_log.h"
#include "executor/run/trace_recorder.h"
#include "executor/run/training.h"
#include "formats/json_lines.h"
#include "formats/metrics.h"
#include "formats/tensorboard_events.h"

namespace meshplan::executor {

/// The length of a run.
struct RunLength {
  std::int64_t steps_per_epoch = 0;
  std::int64_t total_steps = 0;
};

/// What a rank leaves in the run's folder, and what rank 0 tells the user meanwhile.
class TrainingRecords {
 public:
  /// `options` outlives the records.
  TrainingRecords(const TrainingOptions& options, std::int64_t rank, const RunLength& length);

  /// Appends the step's metrics and, every log_interval steps, says how far the run is. The step is
  /// the `step_of_epoch`th of its epoch, counted from 1.
  void add_step(const formats::StepMetrics& measured, std::int64_t step_of_epoch);
  /// The epoch's average loss, or a warning where it had no batches.
  void add_epoch(const EpochLoss& epoch);
  /// The last step's collectives and trace, and the summary.
  void finish(const CollectiveLog& log, const TraceRecorder& trace, c10::Device device) const;

 private:
  using Clock = std::chrono::steady_clock;

  /// What rank 0 alone writes.
  struct Files {
    explicit Files(const std::filesystem::path& run);
    formats::JsonLinesWriter metrics;
    formats::JsonLinesWriter epochs;
    formats::TensorboardWriter tensorboard;
  };

  void say_progress(const formats::StepMetrics& measured, std::int64_t step_of_epoch) const;
  common::Seconds median_step_time() const;

  const TrainingOptions& options_;
  std::int64_t rank_;
  RunLength length_;
  std::unique_ptr<Files> files_;
  std::vector<double> step_times_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point epoch_start_ = start_;
};

}  // namespace meshplan::executor
