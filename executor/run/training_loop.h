#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "executor/checkpoint/checkpoints.h"
#include "executor/comm/mesh_communicators.h"
#include "executor/data/batch_prefetcher.h"
#include "executor/data/training_data.h"
#include "executor/run/step_runner.h"
#include "executor/run/training_records.h"

namespace meshplan::executor {

/// What one rank trains with; all of it outlives the loop.
struct TrainingRank {
  const planner::Plan& plan;
  const TrainingOptions& options;
  std::int64_t rank;
  at::Device device;
  StepRunner& runner;
  TrainingData& data;
  /// Null without a validation loss.
  TrainingData* validation;
  MeshCommunicators& communicators;
  Checkpoints& checkpoints;
};

/// The loop over epochs and steps on one rank. A step's microbatches are of one epoch: what an
/// epoch has beyond a multiple of `accumulation` is left out, as torch's DataLoader drops the last
/// incomplete batch.
class TrainingLoop {
 public:
  /// Throws kInvalidInput where a run of so many steps has no data or no learning rate.
  explicit TrainingLoop(const TrainingRank& rank, const TrainingProgress& progress = {});

  /// Trains to the end, or until a signal ends the run, from where the progress stands.
  void run();

 private:
  bool finished() const;
  void run_epoch();
  void run_step();
  void end_epoch();
  /// Steps done of the epoch under way.
  std::int64_t steps_of_epoch() const;
  void take_microbatches();
  Batch on_device(const HostBatch& batch) const;
  StepResult update(const AdamwOptions& adamw);
  std::optional<double> validation_loss();

  TrainingRank rank_;
  TrainingProgress progress_;
  RunLength length_;
  LearningRateSchedule learning_rate_;
  TraceRecorder trace_;
  TrainingRecords records_;
  /// Absent where an epoch has no step.
  std::optional<BatchPrefetcher> prefetcher_;
  /// The step's own, and the last step's until the next one's are made.
  std::vector<Batch> microbatches_;
  bool stopped_ = false;
};

}  // namespace meshplan::executor
