#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <map>
#include <string>

#include "common/error.h"
#include "executor/calibrate/calibrate.h"
#include "executor/launch/signals.h"
#include "executor/memory/counting_allocator.h"
#include "executor/run/training.h"

namespace {

using namespace meshplan;

struct TrainCommand {
  std::string plan;
  std::string initialization = "weights";
  executor::TrainingOptions options;
};

void add_checkpoints(CLI::App& train, executor::CheckpointOptions& options) {
  train.add_option("--checkpoint-interval", options.interval, "Steps between checkpoints; 0: none")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  train.add_option("--keep-latest-k", options.keep_latest, "Checkpoints to keep; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  train.add_flag("--async-checkpoint", options.asynchronous, "Write while training goes on");
  train.add_option("--resume", options.resume, "auto, never or the folder of a checkpoint")
      ->capture_default_str();
  const std::map<std::string, executor::CheckpointLayout> layouts = {
      {"whole", executor::CheckpointLayout::kWhole},
      {"merged", executor::CheckpointLayout::kMerged},
      {"per-rank", executor::CheckpointLayout::kPerRank}};
  train.add_option("--checkpoint-files", options.layout, "whole, merged or per-rank")
      ->transform(CLI::CheckedTransformer(layouts));
}

void add_train(CLI::App& program, TrainCommand& command) {
  CLI::App* train = program.add_subcommand("train", "Run this rank of a training plan");
  executor::TrainingOptions& options = command.options;
  train->add_option("--plan", command.plan, "plan.json")->required();
  train->add_option("--data", options.data, "Prefix of a Megatron indexed dataset")->required();
  train->add_option("--run-folder", options.run_folder, "Receives metrics, collectives, traces")
      ->required();
  train->add_option("--steps", options.steps,
                    "Updates to do; 0: --num-epochs passes over the data");
  train->add_option("--num-epochs", options.num_epochs, "Passes over the data")
      ->capture_default_str();
  train->add_option("--debug-steps", options.debug_steps, "Stop after so many steps; 0: do not");
  train->add_option("--learning-rate", options.adamw.learning_rate)->capture_default_str();
  train->add_option("--weight-decay", options.adamw.weight_decay)->capture_default_str();
  train->add_option("--seed", options.seed, "Of the order of samples and of random weights")
      ->capture_default_str();
  train->add_option("--log-interval", options.log_interval, "Steps between lines of progress")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  train
      ->add_option("--init", command.initialization,
                   "weights: of the model's folder; random: from --seed")
      ->check(CLI::IsMember({"weights", "random"}))
      ->capture_default_str();
  add_checkpoints(*train, options.checkpoints);
  train->callback([&command] {
    // Where passes over the data are counted, each is saved.
    command.options.checkpoints.each_epoch = command.options.steps == 0;
    command.options.initialization = command.initialization == "random"
                                         ? executor::Initialization::kRandom
                                         : executor::Initialization::kWeights;
    executor::train(planner::load_plan(command.plan), command.options);
  });
}

int run(int argc, char** argv) {
  CLI::App program(
      "One rank of meshplan's executor; `meshplan train` and `meshplan calibrate` start it");
  program.require_subcommand(1);
  TrainCommand train;
  executor::CalibrationOptions calibration;
  add_train(program, train);
  executor::add_calibrate(program, calibration);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return program.exit(error) == 0 ? 0 : static_cast<int>(common::ErrorCode::kUsage);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  executor::watch_signals();
  executor::install_counting_allocator();
  spdlog::set_default_logger(spdlog::stderr_color_mt("meshplan"));
  spdlog::set_pattern("%v");
  try {
    return run(argc, argv);
  } catch (const common::Error& error) {
    std::fprintf(stderr, "meshplan-train: %s\n", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "meshplan-train: internal error: %s\n", error.what());
    return static_cast<int>(common::ErrorCode::kInternal);
  }
}
