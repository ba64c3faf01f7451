#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "executor/checkpoint/checkpoints.h"
#include "executor/optim/adamw.h"
#include "planner/plan/plan.h"

namespace meshplan::executor {

/// Where the first parameters come from.
enum class Initialization { kWeights, kRandom };

/// What a training run needs beside its plan.
struct TrainingOptions {
  /// Prefix of a Megatron indexed dataset.
  std::filesystem::path data;
  /// Receives metrics, collectives, traces and summaries; formats/run_folder.h.
  std::filesystem::path run_folder;
  /// 0: num_epochs passes over the data.
  std::int64_t steps = 0;
  std::int64_t num_epochs = 3;
  /// Greater than 0: stop after so many steps, whatever the two above say.
  std::int64_t debug_steps = 0;
  AdamwOptions adamw;
  std::uint64_t seed = 42;
  /// Steps between lines of progress.
  std::int64_t log_interval = 10;
  Initialization initialization = Initialization::kWeights;
  CheckpointOptions checkpoints;
};

/// Trains this process's rank of the plan to the end. Throws kInvalidInput where the launcher's
/// world size is not the plan's or the inputs are wrong, kDiverged on a gradient norm that is not
/// finite; ends the process where a rank is lost.
void train(const planner::Plan& plan, const TrainingOptions& options);

}  // namespace meshplan::executor
