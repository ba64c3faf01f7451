#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <limits>
#include <memory>

#include "cli/checkpoint_flags.h"
#include "cli/command.h"
#include "cli/launch.h"
#include "cli/train_plan.h"
#include "common/text.h"
#include "formats/indexed_dataset.h"
#include "formats/run_folder.h"
#include "formats/safetensors_folder.h"

namespace meshplan::cli {
namespace {

namespace fs = std::filesystem;
using common::Error;
using common::ErrorCode;
using planner::Axis;

struct TrainFlags {
  std::string plan;
  TrainPlanFlags making;
  /// Options that a plan already answers.
  std::vector<const CLI::Option*> of_plan;

  std::string data;
  std::string dataset_name;
  double dataset_percentage = 100;
  std::optional<std::int64_t> steps;
  std::int64_t num_epochs = 3;
  std::int64_t debug_steps = 0;
  double learning_rate = 1e-5;
  double weight_decay = 0.01;
  std::uint64_t seed = 42;
  std::int64_t log_interval = 10;
  std::string init = "weights";
  std::string storage_path = "./runs";
  std::string experiment_name;
  CheckpointFlags checkpoints;
};

[[noreturn]] void refuse_usage(const std::string& message) {
  throw Error(ErrorCode::kUsage, message + "; see meshplan train --help");
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

planner::Plan obtain_plan(const TrainFlags& flags, const std::optional<RankPlace>& place) {
  if (flags.plan.empty()) return make_train_plan(flags.making, place);
  planner::Plan plan = planner::load_plan(flags.plan);
  if (flags.making.num_workers) {
    const std::string mismatch =
        worker_mismatch(*flags.making.num_workers, plan.layout.mesh.sizes[Axis::kTp],
                        planner::data_parallel_size(plan.layout.mesh));
    if (!mismatch.empty()) throw Error(ErrorCode::kInvalidInput, mismatch);
  }
  return plan;
}

/// What would stop every rank, found before any is started.
void check_inputs(const TrainFlags& flags, const planner::Plan& plan,
                  const std::optional<RankPlace>& place) {
  const std::int64_t world = planner::world_size(plan.layout.mesh);
  if (place && place->world_size != world) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("WORLD_SIZE={}: must equal the plan's dp_replicate={} x dp_shard={} x "
                            "tp={} = {}; start so many ranks, or change the plan",
                            place->world_size, plan.layout.mesh.sizes[Axis::kDpReplicate],
                            plan.layout.mesh.sizes[Axis::kDpShard],
                            plan.layout.mesh.sizes[Axis::kTp], world));
  }
  if (!place && plan.cluster.nodes > 1) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("the plan has {0} nodes, and ranks are started on this one only; start "
                            "them with `torchrun "
                            "--nnodes {0} --nproc-per-node {1} --rdzv-endpoint HOST --no-python "
                            "meshplan train ...` on each",
                            plan.cluster.nodes, plan.cluster.devices_per_node));
  }
  const formats::IndexedDataset dataset(flags.data);
  if (flags.init == "random") return;
  if (!fs::is_directory(plan.model_source)) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("'{}' has no weights: only a folder with safetensors files has; use "
                            "--init random, or a "
                            "model folder",
                            plan.model_source),
                "--init weights");
  }
  const formats::SafetensorsFolder weights(plan.model_source);
}

std::string generated_name(const planner::Plan& plan) {
  const std::time_t now = std::time(nullptr);
  return fmt::format("{}-{:%Y%m%d-%H%M%S}", plan.model.name.empty() ? "run" : plan.model.name,
                     fmt::localtime(now));
}

std::vector<std::string> rank_arguments(const TrainFlags& flags, const std::string& plan_file,
                                        const fs::path& run_folder) {
  std::vector<std::string> arguments = {"train",
                                        "--plan",
                                        plan_file,
                                        "--data",
                                        fs::absolute(flags.data).string(),
                                        "--run-folder",
                                        run_folder.string(),
                                        "--learning-rate",
                                        fmt::format("{}", flags.learning_rate),
                                        "--weight-decay",
                                        fmt::format("{}", flags.weight_decay),
                                        "--seed",
                                        std::to_string(flags.seed),
                                        "--log-interval",
                                        std::to_string(flags.log_interval),
                                        "--init",
                                        flags.init};
  arguments.insert(arguments.end(), {flags.steps ? "--steps" : "--num-epochs",
                                     std::to_string(flags.steps.value_or(flags.num_epochs))});
  if (flags.debug_steps > 0) {
    arguments.insert(arguments.end(), {"--debug-steps", std::to_string(flags.debug_steps)});
  }
  add_checkpoint_arguments(flags.checkpoints, arguments);
  return arguments;
}

/// A file that lives in memory as long as this process, whatever program that runs: ranks that a
/// launcher started each make the plan from the same flags, and need no file that another one
/// writes.
std::string file_in_memory(const std::string& content) {
  const int file = ::memfd_create("plan.json", 0);
  if (file < 0)
    throw Error(ErrorCode::kIo, std::string("cannot create: ") + std::strerror(errno),
                "plan.json in memory");
  const std::string path = fmt::format("/proc/self/fd/{}", file);
  if (::write(file, content.data(), content.size()) != static_cast<ssize_t>(content.size())) {
    throw Error(ErrorCode::kIo, std::string("cannot write: ") + std::strerror(errno), path);
  }
  return path;
}

void announce(const planner::Plan& plan, const fs::path& run_folder) {
  const planner::AxisSizes& sizes = plan.layout.mesh.sizes;
  fmt::print(stderr,
             "meshplan train: {} on dp_replicate {} x dp_shard {} x tp {}, {} sequences of {} "
             "tokens a step, {}; {}\n",
             plan.model.name, sizes[Axis::kDpReplicate], sizes[Axis::kDpShard], sizes[Axis::kTp],
             planner::global_batch_size(plan.layout), plan.job.seq_length,
             common::to_string(plan.job.param_dtype), run_folder.string());
  if (plan.estimate.fits) return;
  fmt::print(
      stderr,
      "meshplan train: warning: the plan needs {} of {} a rank, and may run out of memory in {}\n",
      common::human(plan.estimate.memory.peak_device), common::human(plan.estimate.memory.capacity),
      plan.estimate.memory.peak_instruction);
}

int run_train(const TrainFlags& flags) {
  const std::optional<RankPlace> place = place_in_job();
  check_usage(flags, place);
  const planner::Plan plan = obtain_plan(flags, place);
  check_inputs(flags, plan, place);
  rank_program();
  const std::string name =
      flags.experiment_name.empty() ? generated_name(plan) : flags.experiment_name;
  const fs::path run_folder = fs::absolute(fs::path(flags.storage_path) / name).lexically_normal();
  const fs::path plan_file = formats::plan_path(run_folder);
  if (!place || place->rank == 0) {
    announce(plan, run_folder);
    planner::save_plan(plan, plan_file);
  }
  if (place) become_rank(rank_arguments(flags, file_in_memory(to_json(plan).dump()), run_folder));
  launch_ranks(planner::world_size(plan.layout.mesh), rank_arguments(flags, plan_file, run_folder),
               run_folder);
  fmt::print(stderr, "meshplan train: done; `meshplan compare {0} {1}` compares it with its plan\n",
             plan_file.string(), run_folder.string());
  return 0;
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
  add("--debug-steps", flags.debug_steps, "Stop after so many updates; 0 = do not", "N")
      ->check(CLI::NonNegativeNumber);
  add("--learning-rate", flags.learning_rate, "Of AdamW", "LR")->check(finite_non_negative());
  add("--weight-decay", flags.weight_decay, "Of AdamW", "WD")->check(finite_non_negative());
  add("--seed", flags.seed, "Of the order of samples, and of random weights", "S");
  add("--log-interval", flags.log_interval, "Updates between lines of progress", "K")
      ->check(CLI::PositiveNumber);
  add("--init", flags.init, "weights: those in the model's folder; random: from the seed", "")
      ->check(CLI::IsMember({"weights", "random"}));
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

Action define_train(CLI::App& app) {
  app.description(
      "Train a model as planned: starts the ranks of this machine by torchrun, or is a rank where "
      "they are started\n\n"
      "Examples:\n"
      "  meshplan train plan.json --data build/data/text --steps 30\n"
      "  meshplan train --model ./my-model --data build/data/text --dp-size 2 --tp-size 2 "
      "--seq-length 512\n"
      "  meshplan train --model demo-qwen2 --init random --data build/data/text --dp-size 4 "
      "--seq-length 128\n"
      "  meshplan train plan.json --data build/data/text --experiment-name long "
      "--checkpoint-interval "
      "500 --keep-latest-k 3\n"
      "  torchrun --nnodes 2 --nproc-per-node 8 --rdzv-endpoint HOST --no-python \\\n"
      "      meshplan train plan.json --data build/data/text --experiment-name big");
  const auto flags = std::make_shared<TrainFlags>();
  app.add_option("plan", flags->plan,
                 "The plan.json; without it the flags on model, job and layout make one");
  add_plan_flags(app, *flags);
  add_data_flags(app, *flags);
  add_training_flags(app, *flags);
  add_run_flags(app, *flags);
  add_checkpoint_flags(app, flags->checkpoints);
  return [flags] { return run_train(*flags); };
}

}  // namespace meshplan::cli
