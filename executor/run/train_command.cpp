#include "executor/run/train_command.h"

#include <CLI/CLI.hpp>
#include <map>

#include "common/error.h"
#include "common/number_list.h"
#include "executor/launch/launch_flags.h"

namespace meshplan::executor {
namespace {

void add_data(CLI::App& app, TrainingOptions& options) {
  app.add_option("--data", options.data, "Prefix of a Megatron indexed dataset, or synthetic")
      ->required();
  app.add_option("--packing", options.packing, "Windows of the sequences laid end to end");
  app.add_option("--steps", options.steps, "Updates to do; 0: --num-epochs passes over the data");
  app.add_option("--num-epochs", options.num_epochs, "Passes over the data")->capture_default_str();
  app.add_option("--debug-steps", options.debug_steps,
                 "Stop each epoch after so many steps; 0: do not");
  app.add_option("--validation-data", options.validation_data, "As --data");
  app.add_option("--validation-interval", options.validation_interval, "0: no validation");
  app.add_option("--validation-steps", options.validation_steps, "Batches of each; 0: all");
}

void add_optimizer(CLI::App& app, TrainingOptions& options) {
  LearningRateSchedule& schedule = options.learning_rate;
  app.add_option("--learning-rate", schedule.peak)->capture_default_str();
  app.add_option_function<std::string>("--lr-schedule", [&schedule](const std::string& name) {
    schedule.shape = parse_learning_rate_shape(name, "--lr-schedule");
  });
  app.add_option("--warmup-steps", schedule.warmup_steps);
  app.add_option("--warmup-ratio", options.warmup_ratio);
  app.add_option("--min-learning-rate", schedule.minimum);
  app.add_option("--decay-steps", schedule.decay_steps);
  app.add_option("--weight-decay", options.adamw.weight_decay)->capture_default_str();
}

void add_measurements(CLI::App& app, TrainingOptions& options) {
  app.add_option_function<std::string>(
      "--trace-steps",
      [&options](const std::string& text) {
        options.trace_steps = common::parse_number_list(text, "--trace-steps");
      },
      "Steps whose measured traces are kept: 3,5-7");
  app.add_option("--memory-snapshot", options.memory_snapshot,
                 "Step whose allocations are written down");
}

void add_checkpoints(CLI::App& app, CheckpointOptions& options) {
  app.add_option("--checkpoint-interval", options.interval, "Steps between checkpoints; 0: none")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--keep-latest-k", options.keep_latest, "Checkpoints to keep; 0: all")
      ->check(CLI::NonNegativeNumber);
  app.add_flag("--async-checkpoint", options.asynchronous, "Write while training goes on");
  app.add_option("--resume", options.resume, "auto, never or the folder of a checkpoint")
      ->capture_default_str();
  const std::map<std::string, CheckpointLayout> layouts = {
      {"whole", CheckpointLayout::kWhole},
      {"merged", CheckpointLayout::kMerged},
      {"per-rank", CheckpointLayout::kPerRank}};
  app.add_option("--checkpoint-files", options.layout, "whole, merged or per-rank")
      ->transform(CLI::CheckedTransformer(layouts));
}

void add_run(CLI::App& app, TrainingOptions& options) {
  app.add_option("--run-folder", options.run_folder, "Receives metrics, collectives, traces")
      ->required();
  app.add_option("--seed", options.seed, "Of the order of samples and of random weights")
      ->capture_default_str();
  app.add_option("--log-interval", options.log_interval, "Steps between lines of progress")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--deterministic", options.deterministic, "The same bits each time");
  const std::map<std::string, Initialization> initializations = {
      {"weights", Initialization::kWeights}, {"random", Initialization::kRandom}};
  app.add_option("--init", options.initialization,
                 "weights: of the model's folder; random: from --seed")
      ->transform(CLI::CheckedTransformer(initializations));
}

}  // namespace

void add_train(CLI::App& program, TrainCommand& command) {
  CLI::App* app = program.add_subcommand("train", "Run this rank of a training plan");
  app->add_option("--plan", command.plan, "plan.json")->required();
  add_data(*app, command.options);
  add_optimizer(*app, command.options);
  add_measurements(*app, command.options);
  add_checkpoints(*app, command.options.checkpoints);
  add_run(*app, command.options);
  add_launch_flags(*app, command.options.launch);
  app->callback([&command] {
    // Where passes over the data are counted, each is saved.
    command.options.checkpoints.each_epoch = command.options.steps == 0;
    const planner::Plan plan = planner::load_plan(command.plan);
    if (const auto broken = planner::executor_violations(plan.model, plan.job, plan.layout);
        !broken.empty()) {
      throw common::Error(common::ErrorCode::kInvalidInput, planner::to_string(broken),
                          command.plan);
    }
    train(plan, command.options);
  });
}

}  // namespace meshplan::executor
