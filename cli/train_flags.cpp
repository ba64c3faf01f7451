#include "cli/train_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>

#include "common/number_list.h"
#include "planner/model/feed_forward_model.h"

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
  add_job_flags(app, making.job)->default_str(std::to_string(kDefaultSeqLength));
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
  app.add_option("--dp-replicate", making.dp_replicate,
                 "Replicas of the sharded parameters (default: 1; dp_size under no_shard)")
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

/// Adds options of one group, with their defaults in the help.
class Group {
 public:
  Group(CLI::App& app, const char* name) : app_(app), name_(name) {}

  template <class Value>
  CLI::Option* add(const char* flag, Value& value, const char* help, const char* type) {
    CLI::Option* option = app_.add_option(flag, value, help)->type_name(type)->group(name_);
    return option->capture_default_str();
  }
  /// One whose meaning lies with the ranks.
  template <class Value>
  CLI::Option* add(std::vector<const CLI::Option*>& of_rank, const char* flag, Value& value,
                   const char* help, const char* type) {
    CLI::Option* option = add(flag, value, help, type);
    of_rank.push_back(option);
    return option;
  }

 private:
  CLI::App& app_;
  const char* name_;
};

void add_data_flags(CLI::App& app, TrainFlags& flags) {
  Group group(app, "Data");
  auto& of_rank = flags.of_rank;
  CLI::Option* data = group.add(
      "--data", flags.data,
      "Prefix of an indexed dataset, PREFIX.bin and PREFIX.idx; synthetic: made-up tokens",
      "PREFIX");
  CLI::Option* dataset =
      group.add("--dataset-name", flags.dataset_name,
                "Instead of --data: a Hugging Face dataset (wikitext is wikitext-2-raw-v1) or a "
                "text, .jsonl or .parquet file, tokenized once into the storage path",
                "NAME");
  dataset->excludes(data);
  group
      .add("--dataset-percentage", flags.dataset_percentage,
           "How much of --dataset-name, in (0, 100]", "P")
      ->check(CLI::Range(std::numeric_limits<double>::min(), 100.0))
      ->check(finite_non_negative())
      ->needs(dataset);
  group
      .add("--tokenizer", flags.tokenizer,
           "For --dataset-name: folder or Hugging Face name (default: the model's)", "T")
      ->needs(dataset);
  group
      .add(of_rank, "--packing", flags.packing,
           "on: windows of the sequences laid end to end; off: a padded or cut row for each "
           "sequence (default: off)",
           "")
      ->default_str("");
  group.add(of_rank, "--validation-data", flags.validation_data,
            "Data of the validation loss, as --data", "PREFIX");
  group
      .add(of_rank, "--validation-interval", flags.validation_interval,
           "Updates from one validation loss to the next; 0 = none", "N")
      ->check(CLI::NonNegativeNumber);
  group
      .add(of_rank, "--validation-steps", flags.validation_steps,
           "Batches a rank in one; 0 = all of the data", "N")
      ->check(CLI::NonNegativeNumber);
}

void add_optimizer_flags(CLI::App& app, TrainFlags& flags) {
  Group group(app, "Optimizer");
  auto& of_rank = flags.of_rank;
  group.add(of_rank, "--learning-rate", flags.learning_rate, "Of AdamW, at its peak", "LR")
      ->check(finite_non_negative());
  group
      .add(of_rank, "--lr-schedule", flags.lr_schedule,
           "How it goes on after the warm-up: constant, linear, cosine or wsd "
           "(warm-up, stable, decay)",
           "")
      ->check(CLI::IsMember({"constant", "linear", "cosine", "wsd"}));
  CLI::Option* warmup_steps = group.add(of_rank, "--warmup-steps", flags.warmup_steps,
                                        "Updates in which it rises to the peak", "N");
  warmup_steps->check(CLI::NonNegativeNumber);
  group
      .add(of_rank, "--warmup-ratio", flags.warmup_ratio,
           "The same as a part of the run, in [0, 1]", "R")
      ->check(CLI::Range(0.0, 1.0))
      ->check(finite_non_negative())
      ->excludes(warmup_steps);
  group.add(of_rank, "--min-learning-rate", flags.min_learning_rate, "Where it falls to", "LR")
      ->check(finite_non_negative());
  group
      .add(of_rank, "--decay-steps", flags.decay_steps,
           "Updates in which it falls (default: all after the warm-up; wsd: the last tenth)", "N")
      ->check(CLI::PositiveNumber);
  group.add(of_rank, "--weight-decay", flags.weight_decay, "Of AdamW", "WD")
      ->check(finite_non_negative());
}

void add_training_flags(CLI::App& app, TrainFlags& flags) {
  Group group(app, "Training");
  auto& of_rank = flags.of_rank;
  CLI::Option* steps =
      group.add(of_rank, "--steps", flags.steps, "Updates to do, instead of --num-epochs", "N");
  steps->check(CLI::PositiveNumber);
  group.add(of_rank, "--num-epochs", flags.num_epochs, "Passes over the data", "E")
      ->check(CLI::PositiveNumber)
      ->excludes(steps);
  group
      .add(of_rank, "--debug-steps", flags.debug_steps,
           "Stop each epoch after so many updates; 0 = do not", "N")
      ->check(CLI::NonNegativeNumber);
  group.add(of_rank, "--seed", flags.seed, "Of the order of samples, and of random weights", "S");
  group
      .add(of_rank, "--init", flags.init,
           "weights: those in the model's folder; random: from the seed, the default of the "
           "feed-forward demo",
           "")
      ->default_str("weights")
      ->check(CLI::IsMember({"weights", "random"}));
  group
      .add(of_rank, "--deterministic", flags.deterministic,
           "on: the same bits each time on GPUs, too, at some cost of time; CPUs always do so "
           "(default: off)",
           "")
      ->default_str("");
}

/// What of a run is looked at.
void add_measurement_flags(CLI::App& app, TrainFlags& flags) {
  Group group(app, "Measurements");
  auto& of_rank = flags.of_rank;
  group
      .add(of_rank, "--log-interval", flags.log_interval, "Updates between lines of progress", "K")
      ->check(CLI::PositiveNumber);
  group
      .add(of_rank, "--trace-steps", flags.trace_steps,
           "Steps, from 0, whose measured traces are kept: 3,5-7", "STEPS")
      ->check([](const std::string& text) -> std::string {
        try {
          common::parse_number_list(text, "--trace-steps");
          return "";
        } catch (const common::Error& error) {
          return error.what();
        }
      });
  group
      .add(of_rank, "--memory-snapshot", flags.memory_snapshot,
           "Step, from 0, whose allocations are written down", "STEP")
      ->check(CLI::NonNegativeNumber);
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
  add_flags_beside_plan(app, flags);
  add_rank_flags(app, flags.launch);
  add_node_flags(app, flags.launch);
}

void add_flags_beside_plan(CLI::App& app, TrainFlags& flags) {
  add_data_flags(app, flags);
  add_optimizer_flags(app, flags);
  add_training_flags(app, flags);
  add_measurement_flags(app, flags);
  add_checkpoint_flags(app, flags.checkpoints);
  add_run_flags(app, flags);
}

void check_usage(const TrainFlags& flags, bool one_of_many) {
  if (flags.plan.empty() && flags.making.model.empty())
    refuse_usage("give a plan.json, or --model to make a plan for");
  if (!flags.plan.empty()) {
    for (const CLI::Option* option : flags.of_plan) {
      if (option->count() == 0) continue;
      refuse_usage(fmt::format("{} is in the plan: leave it out, or leave out {}",
                               option->get_name(), flags.plan));
    }
  }
  if (flags.validation_data.empty() != (flags.validation_interval == 0))
    refuse_usage("--validation-data and --validation-interval go together");
  if (flags.launch.max_restarts > 0 && flags.checkpoints.resume != "auto") {
    refuse_usage(
        fmt::format("--max-restarts goes on from the last checkpoint, and --resume {} would begin "
                    "there each time: leave one of them out",
                    flags.checkpoints.resume));
  }
  const fs::path name(flags.experiment_name);
  if (!flags.experiment_name.empty() && (name.has_parent_path() || name == "." || name == "..")) {
    refuse_usage(fmt::format("--experiment-name {}: must be the name of a folder, not a path",
                             flags.experiment_name));
  }
  if (one_of_many && flags.experiment_name.empty()) {
    refuse_usage(
        "--experiment-name is required inside a launched job: all its ranks must use the same one");
  }
}

void check_data_usage(const TrainFlags& flags, const planner::ModelSpec& model) {
  if (planner::is_feed_forward(model)) {
    if (flags.dataset_name.empty() && !flags.packing) return;
    refuse_usage(fmt::format(
        "{} is of text, and {} reads rows of numbers: use --data synthetic, or --data with a "
        "safetensors file that has a float32 tensor rows [N, {}]",
        flags.packing ? "--packing" : "--dataset-name", model.name, model.hidden_size));
  }
  if (flags.data.empty() && flags.dataset_name.empty()) {
    refuse_usage(
        "give --data PREFIX, --data synthetic, or --dataset-name NAME_OR_FILE to be tokenized");
  }
}

std::string initialization(const TrainFlags& flags, const planner::ModelSpec& model) {
  return flags.init.value_or(planner::is_feed_forward(model) ? "random" : "weights");
}

}  // namespace meshplan::cli
