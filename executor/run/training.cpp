#include "executor/run/training.h"

#include <fmt/format.h>

#include "common/error.h"
#include "executor/data/batches.h"
#include "executor/launch/liveness.h"
#include "executor/launch/rendezvous.h"
#include "executor/memory/device.h"
#include "executor/model/initial_parameters.h"
#include "executor/run/step_runner.h"
#include "executor/run/training_loop.h"
#include "formats/run_folder.h"

namespace meshplan::executor {
namespace {

using planner::Axis;
void check_world_size(const planner::Plan& plan, const LaunchEnvironment& environment) {
  const std::int64_t planned = planner::world_size(plan.layout.mesh);
  if (planned == environment.world_size) return;
  throw common::Error(
      common::ErrorCode::kInvalidInput,
      fmt::format(
          "{} started {} ranks; the plan's dp_replicate={} x dp_shard={} x tp={} needs {}",
          environment.launcher, environment.world_size, plan.layout.mesh.sizes[Axis::kDpReplicate],
          plan.layout.mesh.sizes[Axis::kDpShard], plan.layout.mesh.sizes[Axis::kTp], planned),
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

void train_rank(const planner::Plan& plan, const TrainingOptions& options,
                const Rendezvous& rendezvous, Liveness& liveness) {
  const LaunchEnvironment& environment = rendezvous.environment();
  const at::Device device = device_for(environment.local_rank);
  const planner::DeviceMesh& mesh = plan.layout.mesh;
  const formats::IndexedDataset dataset(options.data.string());
  BatchStream batches(dataset, {.vocab_size = plan.model.vocab_size,
                                .seq_length = plan.job.seq_length,
                                .batch_size = plan.layout.microbatch_size,
                                .dp_rank = planner::data_parallel_rank(mesh, environment.rank),
                                .dp_size = planner::data_parallel_size(mesh),
                                .seed = static_cast<std::int64_t>(options.seed)});
  MeshCommunicators communicators(
      mesh, environment.rank, device, rendezvous.store("groups"),
      {.single_node = environment.local_world_size == environment.world_size});
  StepRunner runner(plan, environment.rank, communicators, device);
  initialize(runner, plan, options, environment.rank);
  if (environment.rank == 0) formats::clear_measurements(options.run_folder);
  communicators.barrier();
  TrainingLoop({plan, options, environment.rank, device, runner, batches, communicators, liveness})
      .run();
  communicators.barrier();
}

}  // namespace

void train(const planner::Plan& plan, const TrainingOptions& options) {
  const LaunchEnvironment environment = read_launch_environment();
  check_world_size(plan, environment);
  const Rendezvous rendezvous(environment);
  Liveness liveness(rendezvous);
  liveness.set_run_folder(options.run_folder);
  liveness.guard([&] { train_rank(plan, options, rendezvous, liveness); });
}

}  // namespace meshplan::executor
