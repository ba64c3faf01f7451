#include "executor/run/training_loop.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

#include "common/checked.h"
#include "common/error.h"
#include "executor/memory/device.h"

namespace meshplan::executor {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::int64_t steps_of_an_epoch(const TrainingRank& rank) {
  const std::int64_t whole = rank.batches.batches_per_epoch() / rank.plan.layout.accumulation;
  return rank.options.debug_steps > 0 ? std::min(whole, rank.options.debug_steps) : whole;
}

std::int64_t steps_of_the_run(const TrainingRank& rank, std::int64_t steps_per_epoch) {
  if (rank.options.steps == 0)
    return common::checked_multiply(rank.options.num_epochs, steps_per_epoch, "steps of the run");
  if (steps_per_epoch > 0) return rank.options.steps;
  throw common::Error(
      common::ErrorCode::kInvalidInput,
      fmt::format("Dataloader is empty: an epoch has {} batches, and a step takes accumulation={} "
                  "of them; use more data, a smaller batch size or less accumulation",
                  rank.batches.batches_per_epoch(), rank.plan.layout.accumulation));
}

}  // namespace

TrainingLoop::TrainingLoop(const TrainingRank& rank, const TrainingProgress& progress)
    : rank_(rank),
      progress_(progress),
      steps_per_epoch_(steps_of_an_epoch(rank)),
      total_steps_(steps_of_the_run(rank, steps_per_epoch_)),
      trace_(rank.rank),
      records_(rank.options, rank.rank, total_steps_, steps_per_epoch_) {}

void TrainingLoop::run() {
  reset_peak_allocated(rank_.device);
  while (!finished()) run_epoch();
  records_.finish(rank_.communicators.log(), trace_, rank_.device);
}

bool TrainingLoop::finished() const {
  if (rank_.options.steps > 0) return progress_.step >= total_steps_;
  return progress_.position.epoch >= rank_.options.num_epochs;
}

void TrainingLoop::run_epoch() {
  while (progress_.epoch.steps < steps_per_epoch_) {
    run_step();
    const bool epoch_ends = progress_.epoch.steps == steps_per_epoch_;
    if (epoch_ends) end_epoch();
    after_step(epoch_ends);
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
  rank_.liveness.set_step(progress_.step);
  microbatches_.clear();
  microbatches_ = next_microbatches();
  rank_.communicators.log().clear();
  const auto start = Clock::now();
  trace_.start_step();
  const StepResult result =
      rank_.runner.run(microbatches_, rank_.options.adamw, progress_.step + 1, trace_);
  const double seconds = seconds_since(start);
  progress_.epoch.loss_sum += result.loss;
  ++progress_.epoch.steps;
  const auto tokens = static_cast<double>(planner::global_batch_size(rank_.plan.layout) *
                                          rank_.plan.job.seq_length);
  records_.add_step({.step = progress_.step,
                     .epoch = progress_.epoch.epoch,
                     .loss = result.loss,
                     .grad_norm = result.gradient_norm,
                     .learning_rate = rank_.options.adamw.learning_rate,
                     .step_time = common::Seconds(seconds),
                     .tokens_per_second = tokens / seconds,
                     .peak_memory = peak_allocated(rank_.device)},
                    progress_.epoch.steps);
  ++progress_.step;
  progress_.position.batch += rank_.plan.layout.accumulation;
}

void TrainingLoop::after_step(bool /*epoch_ended*/) {}

std::vector<Batch> TrainingLoop::next_microbatches() {
  rank_.batches.seek(progress_.position);
  std::vector<Batch> microbatches;
  for (std::int64_t i = 0; i < rank_.plan.layout.accumulation; ++i) {
    Batch batch = rank_.batches.next();
    microbatches.push_back({.tokens = batch.tokens.to(rank_.device),
                            .labels = batch.labels.to(rank_.device),
                            .label_count = batch.label_count});
  }
  return microbatches;
}

}  // namespace meshplan::executor
