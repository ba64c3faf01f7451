#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "executor/comm/collective_log.h"
#include "executor/run/trace_recorder.h"
#include "executor/run/training.h"
#include "formats/metrics.h"

namespace meshplan::executor {

/// The steps of one pass over the data.
struct EpochLoss {
  std::int64_t epoch = 0;
  std::int64_t steps = 0;
  double loss_sum = 0;
};

/// What a rank leaves in the run's folder, and what rank 0 tells the user meanwhile.
class TrainingRecords {
 public:
  /// Everything given outlives the records.
  TrainingRecords(const TrainingOptions& options, std::int64_t rank, std::int64_t total_steps,
                  std::int64_t steps_per_epoch);

  /// Appends the step's metrics; every log_interval steps, a line of progress.
  void add_step(const formats::StepMetrics& measured, std::int64_t step_of_epoch);
  /// The epoch's average loss, or a warning where it had no batches.
  void add_epoch(const EpochLoss& epoch);
  /// The last step's collectives and trace, and the summary.
  void finish(const CollectiveLog& log, const TraceRecorder& trace, c10::Device device) const;

 private:
  common::Seconds median_step_time() const;

  const TrainingOptions& options_;
  std::int64_t rank_;
  std::int64_t total_steps_;
  std::int64_t steps_per_epoch_;
  std::optional<formats::MetricsWriter> metrics_;
  std::vector<double> step_times_;
};

}  // namespace meshplan::executor
