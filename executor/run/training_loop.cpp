#include "executor/run/training_loop.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

#include "common/checked.h"
#include "common/error.h"
#include "executor/memory/device.h"
#include "executor/memory/snapshot.h"
#include "formats/run_folder.h"

namespace meshplan::executor {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point start, Clock::time_point end) {
  return std::chrono::duration<double>(end - start).count();
}

RunLength length_of_the_run(const TrainingRank& rank) {
  const TrainingOptions& options = rank.options;
  const std::int64_t batches = rank.data.batches().batches_per_epoch();
  RunLength length{.steps_per_epoch = batches / rank.plan.layout.accumulation};
  if (options.debug_steps > 0)
    length.steps_per_epoch = std::min(length.steps_per_epoch, options.debug_steps);
  length.total_steps = options.steps > 0
                           ? options.steps
                           : common::checked_multiply(options.num_epochs, length.steps_per_epoch,
                                                      "steps of the run");
  if (options.steps == 0 || length.steps_per_epoch > 0) return length;
  throw common::Error(
      common::ErrorCode::kInvalidInput,
      fmt::format("Dataloader is empty: an epoch has {} batches, and a step takes accumulation={} "
                  "of them; use more data, a smaller batch size or less accumulation",
                  batches, rank.plan.layout.accumulation),
      rank.data.samples().name());
}

LearningRateSchedule schedule_of(const TrainingOptions& options, std::int64_t total_steps) {
  LearningRateSchedule schedule = options.learning_rate;
  if (options.warmup_ratio) {
    schedule.warmup_steps =
        static_cast<std::int64_t>(*options.warmup_ratio * static_cast<double>(total_steps));
  }
  return checked(schedule, total_steps);
}

}  // namespace

TrainingLoop::TrainingLoop(const TrainingRank& rank, const TrainingProgress& progress)
    : rank_(rank),
      progress_(progress),
      length_(length_of_the_run(rank)),
      learning_rate_(schedule_of(rank.options, length_.total_steps)),
      trace_(rank.rank, rank.device),
      records_(rank.options, rank.rank, length_) {
  rank_.runner.set_loss_scale(progress_.loss_scale);
  if (length_.steps_per_epoch == 0) return;
  prefetcher_.emplace(rank_.data.batches(),
                      StepOrder{.accumulation = rank_.plan.layout.accumulation,
                                .steps_per_epoch = length_.steps_per_epoch},
                      progress_.position);
}

void TrainingLoop::run() {
  reset_peak_allocated(rank_.device);
  const std::int64_t first_step = progress_.step;
  while (!finished() && !stopped_) run_epoch();
  rank_.checkpoints.finish(progress_);
  if (progress_.step == first_step) return;
  records_.finish(rank_.communicators.log(), trace_, rank_.device);
}

bool TrainingLoop::finished() const {
  if (rank_.options.steps > 0) return progress_.step >= length_.total_steps;
  return progress_.position.epoch >= rank_.options.num_epochs;
}

std::int64_t TrainingLoop::steps_of_epoch() const {
  return progress_.position.batch / rank_.plan.layout.accumulation;
}

void TrainingLoop::run_epoch() {
  while (steps_of_epoch() < length_.steps_per_epoch) {
    stopped_ = !rank_.checkpoints.may_start(progress_.step);
    if (stopped_) return;
    run_step();
    const bool epoch_ends = steps_of_epoch() == length_.steps_per_epoch;
    if (epoch_ends) end_epoch();
    rank_.checkpoints.after_step(progress_);
    if (epoch_ends || finished()) return;
  }
  end_epoch();
}

void TrainingLoop::end_epoch() {
  records_.add_epoch(progress_.epoch);
  const std::int64_t next = progress_.position.epoch + 1;
  progress_.position = {next, 0};
  progress_.epoch = {.epoch = next};
}

void TrainingLoop::run_step() {
  const auto begin = Clock::now();
  take_microbatches();
  const auto start = Clock::now();
  AdamwOptions adamw = rank_.options.adamw;
  adamw.learning_rate = learning_rate(learning_rate_, progress_.step, length_.total_steps);
  const StepResult result = update(adamw);
  const auto end = Clock::now();

  const double seconds = seconds_between(start, end);
  const planner::Plan& plan = rank_.plan;
  const auto tokens =
      static_cast<double>(planner::global_batch_size(plan.layout) * plan.job.seq_length);
  const double peak = planner::matmul_peak(plan.cluster.device, plan.job.param_dtype).value;
  const MemoryNow memory = memory_now(rank_.device);
  formats::StepMetrics measured{
      .step = progress_.step,
      .epoch = progress_.epoch.epoch,
      .loss = result.loss,
      .grad_norm = result.gradient_norm,
      .learning_rate = adamw.learning_rate,
      .step_time = common::Seconds(seconds),
      .tokens_per_second = tokens / seconds,
      .mfu = plan.estimate.model_flops.value / (peak * seconds),
      .data_wait_share = seconds_between(begin, start) / seconds_between(begin, end),
      .peak_memory = peak_allocated(rank_.device),
      .active_memory = memory.active,
      .reserved_memory = memory.reserved};
  progress_.epoch.loss_sum += result.loss;
  ++progress_.epoch.steps;
  ++progress_.step;
  progress_.loss_scale = rank_.runner.loss_scale();
  if (!result.updated && rank_.rank == 0) {
    spdlog::warn("step {} is left out: its float16 gradients overflowed; the loss scale is now {}",
                 progress_.step - 1, progress_.loss_scale.scale);
  }
  progress_.position.batch += plan.layout.accumulation;
  measured.validation_loss = validation_loss();
  records_.add_step(measured, steps_of_epoch());
}

StepResult TrainingLoop::update(const AdamwOptions& adamw) {
  const std::int64_t step = progress_.step;
  const TrainingOptions& options = rank_.options;
  const bool snapshot = options.memory_snapshot == step;
  if (snapshot) start_memory_snapshot(rank_.device);
  CollectiveLog& log = rank_.communicators.log();
  log.clear();
  trace_.start_step();
  const StepResult result = rank_.runner.run(microbatches_, adamw, step + 1, trace_);
  if (snapshot) write_memory_snapshot(rank_.device, options.run_folder, step, rank_.rank);
  if (std::binary_search(options.trace_steps.begin(), options.trace_steps.end(), step)) {
    formats::write_chrome_trace(formats::step_trace_path(options.run_folder, step, rank_.rank),
                                trace_.trace(log));
  }
  return result;
}

std::optional<double> TrainingLoop::validation_loss() {
  const std::int64_t interval = rank_.options.validation_interval;
  if (rank_.validation == nullptr || progress_.step % interval != 0) return std::nullopt;
  // The batch under validation takes the place of the step's.
  microbatches_.clear();
  BatchStream& batches = rank_.validation->batches();
  std::int64_t count = batches.batches_per_epoch();
  if (rank_.options.validation_steps > 0) count = std::min(count, rank_.options.validation_steps);
  return rank_.runner.evaluate(count, [&](std::int64_t i) {
    return on_device(batches.read({0, i}));
  });
}

void TrainingLoop::take_microbatches() {
  microbatches_.clear();
  for (const HostBatch& batch : prefetcher_->next()) microbatches_.push_back(on_device(batch));
}

Batch TrainingLoop::on_device(const HostBatch& batch) const {
  return to_device(batch, rank_.device, scalar_type(rank_.plan.job.param_dtype));
}

}  // namespace meshplan::executor
