#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/checkpoint_flags.h"
#include "cli/launch.h"
#include "cli/train_plan.h"

namespace meshplan::cli {

/// The flags of `meshplan train`.
struct TrainFlags {
  std::string plan;
  TrainPlanFlags making;
  /// Options that a plan already answers.
  std::vector<const CLI::Option*> of_plan;

  /// Options that the ranks are given as they are, where they are set.
  std::vector<const CLI::Option*> of_rank;

  std::string data;
  std::string dataset_name;
  double dataset_percentage = 100;
  std::string tokenizer;
  bool packing = false;
  std::string validation_data;
  std::int64_t validation_interval = 0;
  std::int64_t validation_steps = 0;

  std::optional<std::int64_t> steps;
  std::int64_t num_epochs = 3;
  std::int64_t debug_steps = 0;
  double learning_rate = 1e-5;
  std::string lr_schedule = "constant";
  std::optional<std::int64_t> warmup_steps;
  std::optional<double> warmup_ratio;
  double min_learning_rate = 0;
  std::optional<std::int64_t> decay_steps;
  double weight_decay = 0.01;
  std::uint64_t seed = 42;
  std::optional<std::string> init;
  bool deterministic = false;

  std::string storage_path = "./runs";
  std::string experiment_name;
  std::int64_t log_interval = 10;
  std::string trace_steps;
  std::optional<std::int64_t> memory_snapshot;
  CheckpointFlags checkpoints;
  LaunchOptions launch;
};

/// Adds them; `flags` outlives the app.
void add_train_flags(CLI::App& app, TrainFlags& flags);
/// Those that go with a plan.
void add_flags_beside_plan(CLI::App& app, TrainFlags& flags);

/// Throws kUsage for flags that are missing or do not go together. `one_of_many`: the process is a
/// rank or a node of a job that others are started for, too.
void check_usage(const TrainFlags& flags, bool one_of_many);
/// The same for those on data, when the model is known.
void check_data_usage(const TrainFlags& flags, const planner::ModelSpec& model);

/// --init: by default weights, and random for the feed-forward demo.
std::string initialization(const TrainFlags& flags, const planner::ModelSpec& model);

}  // namespace meshplan::cli
