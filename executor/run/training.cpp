#include "executor/run/training.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "common/error.h"
#include "common/text.h"
#include "executor/data/batches.h"
#include "executor/launch/liveness.h"
#include "executor/launch/rendezvous.h"
#include "executor/memory/counting_allocator.h"
#include "executor/memory/device.h"
#include "executor/model/initial_parameters.h"
#include "executor/run/step_runner.h"
#include "formats/metrics.h"
#include "formats/recorded_collectives.h"
#include "formats/run_folder.h"

namespace meshplan::executor {
namespace {

using planner::Axis;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

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

/// The loop over steps on one rank, and what it leaves in the run's folder.
class TrainingLoop {
 public:
  TrainingLoop(const planner::Plan& plan, const TrainingOptions& options, std::int64_t rank,
               StepRunner& runner, BatchStream& batches, CollectiveLog& log,
               Checkpoints& checkpoints, std::int64_t first_step, at::Device device)
      : plan_(plan),
        options_(options),
        rank_(rank),
        runner_(runner),
        batches_(batches),
        log_(log),
        checkpoints_(checkpoints),
        first_step_(first_step),
        device_(device),
        trace_(rank),
        steps_(step_count()) {}

  void run() {
    std::optional<formats::MetricsWriter> metrics;
    if (rank_ == 0) metrics.emplace(formats::metrics_path(options_.run_folder));
    reset_peak_allocated(device_);
    std::int64_t step = first_step_;
    for (; step < steps_ && checkpoints_.may_start(step); ++step) {
      const formats::StepMetrics measured = run_step(step);
      if (metrics) {
        metrics->append(measured);
        report(measured);
      }
      checkpoints_.after_step({.step = step + 1, .data = batches_.position()});
    }
    checkpoints_.finish({.step = step, .data = batches_.position()});
    if (!step_times_.empty()) write_records();
  }

 private:
  std::int64_t step_count() const {
    const std::int64_t of_epochs = std::max<std::int64_t>(
        1, options_.num_epochs * batches_.batches_per_epoch() / plan_.layout.accumulation);
    const std::int64_t steps = options_.steps > 0 ? options_.steps : of_epochs;
    return options_.debug_steps > 0 ? std::min(steps, options_.debug_steps) : steps;
  }

  formats::StepMetrics run_step(std::int64_t step) {
    // The last step's batches are freed before the next ones are made.
    microbatches_.clear();
    const std::int64_t epoch = batches_.position().epoch;
    for (std::int64_t i = 0; i < plan_.layout.accumulation; ++i)
      microbatches_.push_back(on_device(batches_.next()));
    log_.clear();
    const auto start = Clock::now();
    trace_.start_step();
    const StepResult result = runner_.run(microbatches_, options_.adamw, step + 1, trace_);
    const double seconds = seconds_since(start);
    step_times_.push_back(seconds);
    const auto tokens =
        static_cast<double>(planner::global_batch_size(plan_.layout) * plan_.job.seq_length);
    return {.step = step,
            .epoch = epoch,
            .loss = result.loss,
            .grad_norm = result.gradient_norm,
            .learning_rate = options_.adamw.learning_rate,
            .step_time = common::Seconds(seconds),
            .tokens_per_second = tokens / seconds,
            .peak_memory = peak_allocated(device_)};
  }

  Batch on_device(Batch batch) const {
    if (device_.is_cpu()) return batch;
    return {.tokens = batch.tokens.to(device_),
            .labels = batch.labels.to(device_),
            .label_count = batch.label_count};
  }

  void report(const formats::StepMetrics& measured) const {
    const std::int64_t done = measured.step + 1;
    if (done % options_.log_interval != 0 && done != steps_ && measured.step != first_step_) return;
    spdlog::info("step {}/{}  loss {:.4f}  grad norm {:.3f}  {}  {:.0f} tokens/s", done, steps_,
                 measured.loss, measured.grad_norm, common::human(measured.step_time),
                 measured.tokens_per_second);
  }

  void write_records() const {
    std::vector<formats::RecordedCollective> issued;
    for (const IssuedCollective& collective : log_.issued()) {
      issued.push_back({planner::to_string(collective.kind), planner::to_string(collective.axis),
                        collective.bytes});
    }
    formats::write_recorded_collectives(formats::collectives_path(options_.run_folder, rank_),
                                        issued);
    formats::write_chrome_trace(formats::trace_path(options_.run_folder, rank_),
                                trace_.trace(log_));
    formats::write_summary(options_.run_folder,
                           {.rank = rank_,
                            .steps = steps_,
                            .peak_allocated = peak_allocated(device_),
                            .peak_communication = memory_counts().communication_peak,
                            .median_step_time = common::Seconds(median_step_time())});
  }

  double median_step_time() const {
    // The first two steps touch memory and connections for the first time.
    const std::size_t warm = step_times_.size() > 4 ? 2 : 0;
    std::vector<double> times(step_times_.begin() + static_cast<std::ptrdiff_t>(warm),
                              step_times_.end());
    std::sort(times.begin(), times.end());
    return times.size() % 2 == 1 ? times[times.size() / 2]
                                 : (times[times.size() / 2 - 1] + times[times.size() / 2]) / 2;
  }

  const planner::Plan& plan_;
  const TrainingOptions& options_;
  std::int64_t rank_;
  StepRunner& runner_;
  BatchStream& batches_;
  CollectiveLog& log_;
  Checkpoints& checkpoints_;
  std::int64_t first_step_;
  at::Device device_;
  TraceRecorder trace_;
  std::int64_t steps_;
  std::vector<Batch> microbatches_;
  std::vector<double> step_times_;
};

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
  Checkpoints checkpoints(plan, options.checkpoints, options.run_folder, options.seed, rendezvous,
                          liveness, runner.units());
  const std::optional<TrainingPosition> resumed = checkpoints.resume();
  if (resumed) {
    batches.seek(resumed->data);
  } else {
    initialize(runner, plan, options, environment.rank);
  }
  const std::int64_t first_step = resumed ? resumed->step : 0;
  if (environment.rank == 0) formats::clear_measurements_from(options.run_folder, first_step);
  communicators.barrier();
  TrainingLoop(plan, options, environment.rank, runner, batches, communicators.log(), checkpoints,
               first_step, device)
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
