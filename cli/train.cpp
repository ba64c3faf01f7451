#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <memory>

#include "cli/checkpoint_flags.h"
#include "cli/command.h"
#include "cli/hub.h"
#include "cli/launch.h"
#include "cli/train_data.h"
#include "cli/train_flags.h"
#include "common/text.h"
#include "formats/indexed_dataset.h"
#include "formats/row_dataset.h"
#include "formats/run_folder.h"
#include "formats/safetensors_folder.h"
#include "planner/model/coverage.h"
#include "planner/model/feed_forward_model.h"

namespace meshplan::cli {
namespace {

namespace fs = std::filesystem;
using common::Error;
using common::ErrorCode;
using planner::Axis;

constexpr const char* kSynthetic = "synthetic";

/// What this process is to the job: at most one of them; neither where it starts all ranks itself.
struct Part {
  std::optional<formats::LaunchEnvironment> rank;
  std::optional<formats::NodeEnvironment> node;

  bool one_of_many() const { return rank || node; }
  bool is_first() const { return (!rank || rank->rank == 0) && (!node || node->node_rank == 0); }
  std::int64_t nodes() const {
    if (rank) return rank->world_size / rank->local_world_size;
    return node ? std::max<std::int64_t>(1, node->nodes) : 1;
  }
};

Part part_in_job(const LaunchOptions& options) {
  return {.rank = place_in_job(options), .node = node_in_job(options)};
}

planner::Plan obtain_plan(const TrainFlags& flags, const Part& part) {
  if (flags.plan.empty()) {
    TrainPlanFlags making = flags.making;
    making.model = resolve_model(making.model, flags.init.value_or("weights") == "weights");
    planner::Plan plan = make_train_plan(making, part.nodes());
    // The hub's cache calls the folder by its commit.
    if (making.model != flags.making.model)
      plan.model.name = fs::path(flags.making.model).filename().string();
    return plan;
  }
  planner::Plan plan = planner::load_plan(flags.plan);
  if (flags.making.num_workers) {
    const std::string mismatch =
        worker_mismatch(*flags.making.num_workers, plan.layout.mesh.sizes[Axis::kTp],
                        planner::data_parallel_size(plan.layout.mesh));
    if (!mismatch.empty()) throw Error(ErrorCode::kInvalidInput, mismatch);
  }
  if (const auto broken = planner::executor_violations(plan.model, plan.job, plan.layout);
      !broken.empty())
    throw Error(ErrorCode::kInvalidInput, planner::to_string(broken), flags.plan);
  return plan;
}

/// One node's share of the plan's ranks.
void check_node(const formats::NodeEnvironment& node, const planner::Plan& plan) {
  if (node.nodes == plan.cluster.nodes) return;
  throw Error(ErrorCode::kInvalidInput,
              fmt::format("{} nodes were started: must equal the plan's nodes={} of {} ranks each; "
                          "start so many, or change the plan",
                          node.nodes, plan.cluster.nodes, plan.cluster.devices_per_node));
}

/// That as many ranks are started as the plan has.
void check_part(const Part& part, const planner::Plan& plan) {
  const std::int64_t world = planner::world_size(plan.layout.mesh);
  if (part.node) return check_node(*part.node, plan);
  if (part.rank && part.rank->world_size != world) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("{} started {} ranks (WORLD_SIZE={}): must equal the plan's "
                            "dp_replicate={} x dp_shard={} x tp={} = {}; start so many ranks, or "
                            "change the plan",
                            formats::launcher_title(part.rank->launcher), part.rank->world_size,
                            part.rank->world_size, plan.layout.mesh.sizes[Axis::kDpReplicate],
                            plan.layout.mesh.sizes[Axis::kDpShard],
                            plan.layout.mesh.sizes[Axis::kTp], world));
  }
  if (!part.rank && plan.cluster.nodes > 1) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("the plan has {0} nodes, and ranks are started on this one only; run "
                            "`meshplan train ... --nnodes {0} --node-rank K --master-addr HOST` on "
                            "each, or start the {1} ranks with torchrun, srun or mpirun",
                            plan.cluster.nodes, world));
  }
}

/// What would stop every rank, found before any is started.
void check_inputs(const TrainFlags& flags, const planner::Plan& plan, const Part& part) {
  planner::require_trainable(plan.model);
  check_part(part, plan);
  if (initialization(flags, plan.model) == "random") return;
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

/// The rows that a model without tokens is to read, made up unless a file is named.
std::string obtain_rows(const TrainFlags& flags, const planner::Plan& plan) {
  const auto opened = [&plan](const std::string& data) -> std::string {
    if (data.empty() || data == kSynthetic) return kSynthetic;
    const formats::RowDataset rows(data, plan.model.hidden_size);
    return fs::absolute(data).string();
  };
  opened(flags.validation_data);
  return opened(flags.data);
}

/// What the ranks are to read, tokenized where it has to be; opened here, so that what is wrong
/// with it is said once.
std::string obtain_data(const TrainFlags& flags, const planner::Plan& plan) {
  if (planner::is_feed_forward(plan.model)) return obtain_rows(flags, plan);
  if (!flags.validation_data.empty() && flags.validation_data != kSynthetic) {
    const formats::IndexedDataset validation(flags.validation_data);
  }
  if (flags.data == kSynthetic) return flags.data;
  std::string prefix = flags.data;
  if (!flags.dataset_name.empty()) {
    std::string tokenizer = flags.tokenizer;
    if (tokenizer.empty() && fs::is_directory(plan.model_source)) tokenizer = plan.model_source;
    if (tokenizer.empty()) {
      throw Error(ErrorCode::kUsage,
                  fmt::format("--dataset-name needs a tokenizer, and '{}' is no folder that could "
                              "have one; give --tokenizer NAME_OR_DIR",
                              plan.model_source));
    }
    prefix = prepare_dataset({.name = flags.dataset_name,
                              .percentage = flags.dataset_percentage,
                              .tokenizer = tokenizer,
                              .append_eos = flags.packing},
                             flags.storage_path);
  }
  const formats::IndexedDataset dataset(prefix);
  return fs::absolute(prefix).string();
}

std::string generated_name(const planner::Plan& plan) {
  const std::time_t now = std::time(nullptr);
  return fmt::format("{}-{:%Y%m%d-%H%M%S}", plan.model.name.empty() ? "run" : plan.model.name,
                     fmt::localtime(now));
}

std::vector<std::string> rank_arguments(const TrainFlags& flags, const planner::Plan& plan,
                                        const std::string& plan_file, const std::string& data,
                                        const fs::path& run_folder) {
  std::vector<std::string> arguments = {"train", "--plan",       plan_file,          "--data",
                                        data,    "--run-folder", run_folder.string()};
  for (const CLI::Option* option : flags.of_rank) {
    if (option->count() == 0) continue;
    std::string value = option->results().back();
    if (option->get_name() == "--validation-data" && value != kSynthetic)
      value = fs::absolute(value).string();
    arguments.insert(arguments.end(), {option->get_name(), value});
  }
  if (!flags.init && initialization(flags, plan.model) == "random")
    arguments.insert(arguments.end(), {"--init", "random"});
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
             "meshplan train: {} on dp_replicate {} x dp_shard {} x tp {} ({}, sequence parallel "
             "{}, activation checkpointing {}), {} sequences of {} tokens a step, {} with {} "
             "masters, reduced in {}; {}\n",
             plan.model.name, sizes[Axis::kDpReplicate], sizes[Axis::kDpShard], sizes[Axis::kTp],
             to_string(plan.layout.sharding), plan.layout.sequence_parallel ? "on" : "off",
             to_string(plan.layout.activation_checkpointing),
             planner::global_batch_size(plan.layout), plan.job.seq_length,
             common::to_string(plan.job.param_dtype), common::to_string(plan.job.master_dtype),
             common::to_string(plan.job.reduce_dtype), run_folder.string());
  if (plan.estimate.fits) return;
  fmt::print(
      stderr,
      "meshplan train: warning: the plan needs {} of {} a rank, and may run out of memory in {}\n",
      common::human(plan.estimate.memory.peak_device), common::human(plan.estimate.memory.capacity),
      plan.estimate.memory.peak_instruction);
}

int run_train(const TrainFlags& flags) {
  Part part = part_in_job(flags.launch);
  check_usage(flags, part.one_of_many());
  const planner::Plan plan = obtain_plan(flags, part);
  if (part.node && part.node->nodes == 0) part.node->nodes = plan.cluster.nodes;
  check_data_usage(flags, plan.model);
  check_inputs(flags, plan, part);
  rank_program();
  const std::string data = obtain_data(flags, plan);
  const std::string name =
      flags.experiment_name.empty() ? generated_name(plan) : flags.experiment_name;
  const fs::path run_folder = fs::absolute(fs::path(flags.storage_path) / name).lexically_normal();
  const fs::path plan_file = formats::plan_path(run_folder);
  if (part.is_first()) announce(plan, run_folder);
  // Each node reads the file; on a storage that they share, all write the same.
  if (part.is_first() || part.node) planner::save_plan(plan, plan_file);
  if (part.rank)
    become_rank(rank_arguments(flags, plan, file_in_memory(to_json(plan).dump()), data, run_folder),
                flags.launch);
  launch_ranks({.count = planner::world_size(plan.layout.mesh) / part.nodes(),
                .node = part.node,
                .max_restarts = flags.launch.max_restarts,
                .timeout_s = flags.launch.rank.timeout_s},
               rank_arguments(flags, plan, plan_file, data, run_folder), run_folder);
  fmt::print(stderr, "meshplan train: done; `meshplan compare {0} {1}` compares it with its plan\n",
             plan_file.string(), run_folder.string());
  return 0;
}

}  // namespace

Action define_train(CLI::App& app) {
  app.description(
      "Train a model as planned: starts the ranks of this machine by torchrun, or is a rank where "
      "they are started\n\n"
      "Examples:\n"
      "  meshplan train plan.json --data build/data/text --steps 30\n"
      "  meshplan train --model-name Qwen/Qwen2.5-0.5B --dataset-name wikitext --tp-size 2 "
      "--dp-size 2 --num-workers 4\n"
      "  meshplan train --model ./my-model --dataset-name notes.jsonl --packing on --dp-size 4 "
      "--lr-schedule cosine --warmup-ratio 0.03\n"
      "  meshplan train --model demo-qwen2 --init random --data synthetic --dp-size 4 --steps 50 "
      "--seq-length 128\n"
      "  meshplan train plan.json --data build/data/text --experiment-name long "
      "--checkpoint-interval "
      "500 --keep-latest-k 3\n"
      "  torchrun --nnodes 2 --nproc-per-node 8 --rdzv-endpoint HOST --no-python \\\n"
      "      meshplan train plan.json --data build/data/text --experiment-name big\n"
      "  srun --ntasks 16 --ntasks-per-node 8 meshplan train plan.json --data build/data/text "
      "--experiment-name big");
  const auto flags = std::make_shared<TrainFlags>();
  add_train_flags(app, *flags);
  return [flags] { return run_train(*flags); };
}

}  // namespace meshplan::cli
