#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "executor/checkpoint/checkpoints.h"
#include "executor/optim/adamw.h"
#include "executor/optim/learning_rate.h"
#include "formats/launch_flags.h"
#include "planner/plan/plan.h"

namespace meshplan::executor {

/// Where the first parameters come from.
enum class Initialization { kWeights, kRandom };

/// What a training run needs beside its plan. Steps count from 0, as in metrics.jsonl.
struct TrainingOptions {
  /// Prefix of a Megatron indexed dataset (for models of rows a safetensors file), or "synthetic".
  std::string data;
  /// Sequences are laid end to end and cut into windows, instead of padded.
  bool packing = false;
  /// The same for the data of the validation loss; empty: none.
  std::string validation_data;
  /// Steps from one validation to the next; 0: none.
  std::int64_t validation_interval = 0;
  /// Batches of each rank in one; 0: all of the data.
  std::int64_t validation_steps = 0;
  /// Receives metrics, collectives, traces and summaries; formats/run_folder.h.
  std::filesystem::path run_folder;
  /// 0: num_epochs passes over the data.
  std::int64_t steps = 0;
  std::int64_t num_epochs = 3;
  /// Greater than 0: stop each epoch after so many steps.
  std::int64_t debug_steps = 0;
  /// learning_rate aside, which the schedule sets.
  AdamwOptions adamw;
  LearningRateSchedule learning_rate;
  /// Instead of warmup_steps: part of the run's steps.
  std::optional<double> warmup_ratio;
  std::uint64_t seed = 42;
  /// Steps between lines of progress.
  std::int64_t log_interval = 10;
  Initialization initialization = Initialization::kWeights;
  /// Whether kernels give the same bits each time; executor/memory/device.h.
  bool deterministic = false;
  /// Steps whose measured traces are kept.
  std::vector<std::int64_t> trace_steps;
  /// The step whose allocations are written down.
  std::optional<std::int64_t> memory_snapshot;
  CheckpointOptions checkpoints;
  formats::LaunchFlags launch;
};

/// Trains this process's rank of the plan to the end. Throws kInvalidInput where the launcher's
/// world size is not the plan's or the inputs are wrong, kDiverged on a gradient norm that is not
/// finite; ends the process where a rank is lost.
void train(const planner::Plan& plan, const TrainingOptions& options);

}  // namespace meshplan::executor
