#include "executor/run/training.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <csignal>
#include <optional>
#include <utility>

#include "common/error.h"
#include "executor/checkpoint/checkpoints.h"
#include "executor/data/batch_agreement.h"
#include "executor/data/training_data.h"
#include "executor/kernels/fused.h"
#include "executor/launch/liveness.h"
#include "executor/launch/process.h"
#include "executor/launch/rendezvous.h"
#include "executor/launch/requeue.h"
#include "executor/memory/device.h"
#include "executor/model/initial_parameters.h"
#include "executor/run/placement_check.h"
#include "executor/run/step_runner.h"
#include "executor/run/training_loop.h"
#include "formats/error_record.h"
#include "formats/run_folder.h"
#include "planner/model/coverage.h"
#include "planner/model/feed_forward_model.h"
#include "planner/model/parameter_table.h"

namespace meshplan::executor {
namespace {

using planner::Axis;

void check_world_size(const planner::Plan& plan, const formats::LaunchEnvironment& environment) {
  const std::int64_t planned = planner::world_size(plan.layout.mesh);
  if (planned == environment.world_size) return;
  throw common::Error(
      common::ErrorCode::kInvalidInput,
      fmt::format("{} started {} ranks; the plan's dp_replicate={} x dp_shard={} x tp={} needs {}",
                  formats::launcher_title(environment.launcher), environment.world_size,
                  plan.layout.mesh.sizes[Axis::kDpReplicate],
                  plan.layout.mesh.sizes[Axis::kDpShard], plan.layout.mesh.sizes[Axis::kTp],
                  planned),
      "world size");
}

void initialize(StepRunner& runner, const planner::Plan& plan, const TrainingOptions& options,
                std::int64_t rank) {
  const planner::AxisSizes at = planner::coordinates_of(plan.layout.mesh, rank);
  const ParameterPlace place{.tp_rank = at[Axis::kTp], .dp_shard_rank = at[Axis::kDpShard]};
  if (options.initialization == Initialization::kRandom) {
    randomize_parameters(runner.units(), place, plan.model, options.seed);
  } else {
    load_parameters(runner.units(), place, plan.model_source);
  }
}

DataOptions data_options(const planner::Plan& plan, const TrainingOptions& options,
                         std::int64_t rank) {
  const planner::DeviceMesh& mesh = plan.layout.mesh;
  return {.data = options.data,
          .packing = options.packing,
          .vocab_size = plan.model.vocab_size,
          .row_width = planner::is_feed_forward(plan.model) ? plan.model.hidden_size : 0,
          .batches = {.seq_length = plan.job.seq_length,
                      .batch_size = plan.layout.microbatch_size,
                      .dp_rank = planner::data_parallel_rank(mesh, rank),
                      .dp_size = planner::data_parallel_size(mesh),
                      .seed = static_cast<std::int64_t>(options.seed)}};
}

/// The same samples in the same order each time.
std::optional<TrainingData> open_validation(const TrainingOptions& options, DataOptions data) {
  if (options.validation_interval == 0) return std::nullopt;
  data.data = options.validation_data;
  data.batches.shuffle = false;
  // Made-up data of another seed: what was trained on validates nothing.
  ++data.batches.seed;
  return std::optional<TrainingData>(std::in_place, data);
}

void check_data(TrainingData& data, const planner::Plan& plan, const Rendezvous& rendezvous) {
  const auto store = rendezvous.store("data");
  check_batch_agreement(*store, plan.layout.mesh, rendezvous.environment().rank,
                        data.samples().count(), data.batches().read({0, 0}));
}

/// Of what an earlier run of this folder measured.
void clear_what_comes_again(const std::filesystem::path& run_folder,
                            const std::optional<TrainingProgress>& resumed) {
  if (!resumed) return formats::clear_measurements(run_folder);
  formats::keep_measurements_before(run_folder, resumed->step, resumed->position.epoch);
}

void announce_model(StepRunner& runner, const planner::Plan& plan) {
  std::int64_t of_rank = 0;
  for (const ShardedUnit& unit : runner.units()) of_rank += unit.flat.shard_elements;
  spdlog::info("Model initialized with {} parameters, {} of them (padding included) on each rank",
               planner::parameter_count(plan.model), of_rank);
}

/// True where a signal ended it.
bool train_rank(const planner::Plan& plan, const TrainingOptions& options,
                const Rendezvous& rendezvous, Liveness& liveness) {
  const formats::LaunchEnvironment& environment = rendezvous.environment();
  check_placement(*rendezvous.store("placement"), plan.layout.mesh, environment.rank,
                  {this_process().host_name, environment.local_rank});
  if (options.deterministic) compute_deterministically();
  const at::Device device = device_for(environment.local_rank);
  // Also finds a library that does not load now, and not in the middle of a step.
  if (!device.is_cpu() && environment.rank == 0) spdlog::info("kernels: {}", fused::describe());
  const DataOptions data_set = data_options(plan, options, environment.rank);
  TrainingData data(data_set);
  std::optional<TrainingData> validation = open_validation(options, data_set);
  check_data(data, plan, rendezvous);
  MeshCommunicators communicators(
      plan.layout.mesh, environment.rank, device, rendezvous.store("groups"),
      {.single_node = environment.local_world_size == environment.world_size,
       .network_address = rendezvous.network_address()});
  StepRunner runner(plan, environment.rank, communicators, device);
  Checkpoints checkpoints(plan, options.checkpoints, options.run_folder, options.seed, rendezvous,
                          liveness, runner.units());
  const std::optional<TrainingProgress> resumed = checkpoints.resume();
  if (!resumed) initialize(runner, plan, options, environment.rank);
  if (environment.rank == 0) {
    announce_model(runner, plan);
    clear_what_comes_again(options.run_folder, resumed);
  }
  communicators.barrier();
  TrainingLoop({.plan = plan,
                .options = options,
                .rank = environment.rank,
                .device = device,
                .runner = runner,
                .data = data,
                .validation = validation ? &*validation : nullptr,
                .communicators = communicators,
                .checkpoints = checkpoints},
               resumed.value_or(TrainingProgress{}))
      .run();
  communicators.barrier();
  return checkpoints.stopped();
}

/// Ahead of its time limit Slurm sends SIGUSR1, where the script asked for it: the checkpoint is
/// written, and the job is to go on from there.
void requeue(const formats::LaunchEnvironment& environment) {
  if (environment.rank != 0) return;
  const std::string outcome = requeue_slurm_job(formats::process_environment());
  if (!outcome.empty()) spdlog::info(outcome);
}

}  // namespace

void train(const planner::Plan& plan, const TrainingOptions& options) {
  const formats::LaunchEnvironment environment =
      formats::read_launch_environment(formats::process_environment(), options.launch);
  planner::require_trainable(plan.model);
  check_world_size(plan, environment);
  if (environment.rank == 0) {
    if (environment.launcher != "none") spdlog::info("launch: {}", describe(environment));
    // Of an earlier attempt: a restart by torchrun or Slurm does not pass through `meshplan train`.
    formats::clear_error_records(options.run_folder);
  }
  bool stopped = false;
  int signal = 0;
  {
    const Rendezvous rendezvous(environment,
                                {.timeout = std::chrono::seconds(options.launch.timeout_s),
                                 .file = formats::meeting_path(options.run_folder)});
    Liveness liveness(rendezvous);
    liveness.set_run_folder(options.run_folder);
    liveness.guard([&] { stopped = train_rank(plan, options, rendezvous, liveness); });
    signal = liveness.stop_signal();
  }
  // When the others have ended: Slurm will end what is left.
  if (stopped && signal == SIGUSR1) requeue(environment);
}

}  // namespace meshplan::executor
