#include "cli/train_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>

namespace meshplan::cli {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse_usage(const std::string& message) {
  throw common::Error(common::ErrorCode::kUsage, message + "; see meshplan train --help");
}

/// The flags that a plan is made from.
void add_plan_flags(CLI::App& app, TrainFlags& flags) {
  const std::vector<CLI::Option*> others = app.get_options();
  TrainPlanFlags& making = flags.making;
  add_model_flag(app, making.model, "--model,--model-name");
  add_cluster_flags(app, making.cluster)
      ->description("Catalog name or cluster file (default: this machine)");
  making.job.job.seq_length = 2048;
  add_job_flags(app, making.job)->capture_default_str();
  const char* const group = "Layout";
  app.add_option("--tp-size,--tp", making.tp_size, "Ranks of a tensor-parallel group")
      ->capture_default_str()
      ->type_name("T")
      ->group(group);
  app.add_option("--dp-size", making.dp_size,
                 "Data-parallel ranks (default: dp_replicate x dp_shard)")
      ->type_name("D")
      ->group(group);
  app.add_option("--dp-shard", making.dp_shard,
                 "Ranks that parameters are sharded over (default: dp_size / dp_replicate)")
      ->type_name("F")
      ->group(group);
  app.add_option("--dp-replicate", making.dp_replicate, "Replicas of the sharded parameters")
      ->capture_default_str()
      ->type_name("R")
      ->group(group);
  app.add_option("--batch-size,--microbatch-size", making.layout.layout.microbatch_size,
                 "Sequences of a data-parallel rank and forward pass")
      ->capture_default_str()
      ->type_name("B")
      ->group(group);
  add_layout_flags(app, making.layout);
  for (const CLI::Option* option : app.get_options()) {
    if (std::find(others.begin(), others.end(), option) == others.end())
      flags.of_plan.push_back(option);
  }
}

void add_data_flags(CLI::App& app, TrainFlags& flags) {
  const char* const group = "Data";
  app.add_option("--data", flags.data, "Prefix of an indexed dataset: PREFIX.bin and PREFIX.idx")
      ->type_name("PREFIX")
      ->group(group);
  CLI::Option* dataset =
      app.add_option(
             "--dataset-name", flags.dataset_name,
             "A Hugging Face dataset (not built yet: scripts/prepare_data makes it a --data)")
          ->type_name("NAME")
          ->group(group);
  app.add_option("--dataset-percentage", flags.dataset_percentage,
                 "How much of --dataset-name, in (0, 100]")
      ->check(CLI::Range(std::numeric_limits<double>::min(), 100.0))
      ->needs(dataset)
      ->type_name("P")
      ->group(group);
}

void add_training_flags(CLI::App& app, TrainFlags& flags) {
  const char* const group = "Training";
  const auto add = [&](const char* name, auto& value, const char* help, const char* type) {
    return app.add_option(name, value, help)->capture_default_str()->type_name(type)->group(group);
  };
  CLI::Option* steps = add("--steps", flags.steps, "Updates to do, instead of --num-epochs", "N")
                           ->check(CLI::PositiveNumber);
  add("--num-epochs", flags.num_epochs, "Passes over the data", "E")
      ->check(CLI::PositiveNumber)
      ->excludes(steps);
  add("--debug-steps", flags.debug_steps, "Stop each epoch after so many updates; 0 = do not", "N")
      ->check(CLI::NonNegativeNumber);
  add("--learning-rate", flags.learning_rate, "Of AdamW", "LR")->check(finite_non_negative());
  add("--weight-decay", flags.weight_decay, "Of AdamW", "WD")->check(finite_non_negative());
  add("--seed", flags.seed, "Of the order of samples, and of random weights", "S");
  add("--log-interval", flags.log_interval, "Updates between lines of progress", "K")
      ->check(CLI::PositiveNumber);
  add("--init", flags.init, "weights: those in the model's folder; random: from the seed", "")
      ->check(CLI::IsMember({"weights", "random"}));
  add("--checkpoint-interval", flags.checkpoint_interval, "Not built yet", "N")->group("");
  add("--keep-latest-k", flags.keep_latest_k, "Not built yet", "K")->group("");
  add("--resume", flags.resume, "Not built yet", "")->group("");
}

void add_run_flags(CLI::App& app, TrainFlags& flags) {
  const char* const group = "Run";
  app.add_option("--storage-path", flags.storage_path, "Holds the folders of runs")
      ->capture_default_str()
      ->type_name("DIR")
      ->group(group);
  app.add_option("--experiment-name", flags.experiment_name,
                 "The run's folder (default: MODEL-YYYYmmdd-HHMMSS)")
      ->type_name("NAME")
      ->group(group);
  app.add_option("--num-workers", flags.making.num_workers,
                 "Ranks, to be checked: must equal tp_size x dp_size")
      ->type_name("N")
      ->group(group);
}

}  // namespace

void add_train_flags(CLI::App& app, TrainFlags& flags) {
  app.add_option("plan", flags.plan,
                 "The plan.json; without it the flags on model, job and layout make one");
  add_plan_flags(app, flags);
  add_data_flags(app, flags);
  add_training_flags(app, flags);
  add_run_flags(app, flags);
}

void check_usage(const TrainFlags& flags, const std::optional<RankPlace>& place) {
  if (flags.plan.empty() && flags.making.model.empty())
    refuse_usage("give a plan.json, or --model to make a plan for");
  if (!flags.plan.empty()) {
    for (const CLI::Option* option : flags.of_plan) {
      if (option->count() == 0) continue;
      refuse_usage(fmt::format("{} is in the plan: leave it out, or leave out {}",
                               option->get_name(), flags.plan));
    }
  }
  if (!flags.dataset_name.empty()) {
    refuse_usage(fmt::format(
        "--dataset-name is not built yet: run `scripts/prepare_data --dataset {} --percentage {} "
        "--tokenizer NAME_OR_DIR --out PREFIX` and give --data PREFIX",
        flags.dataset_name, flags.dataset_percentage));
  }
  if (flags.data.empty())
    refuse_usage("--data PREFIX is required: scripts/prepare_data makes such a dataset");
  if (flags.checkpoint_interval != 0 || flags.keep_latest_k != 0 || flags.resume != "never") {
    refuse_usage(
        "--checkpoint-interval, --keep-latest-k and --resume are not built yet: leave them out");
  }
  const fs::path name(flags.experiment_name);
  if (!flags.experiment_name.empty() && (name.has_parent_path() || name == "." || name == "..")) {
    refuse_usage(fmt::format("--experiment-name {}: must be the name of a folder, not a path",
                             flags.experiment_name));
  }
  if (place && flags.experiment_name.empty()) {
    refuse_usage(
        "--experiment-name is required inside a launched job: all its ranks must use the same one");
  }
}

}  // namespace meshplan::cli
