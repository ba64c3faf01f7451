#include "executor/run/training_records.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "common/text.h"
#include "executor/memory/counting_allocator.h"
#include "executor/memory/device.h"
#include "formats/recorded_collectives.h"
#include "formats/run_folder.h"

namespace meshplan::executor {
namespace {

std::vector<formats::Scalar> curves_of(const formats::StepMetrics& measured) {
  const auto value = [](double number) { return static_cast<float>(number); };
  const auto bytes = [](common::Bytes size) { return static_cast<float>(size.value); };
  std::vector<formats::Scalar> curves = {
      {"train/loss", value(measured.loss)},
      {"train/grad_norm", value(measured.grad_norm)},
      {"train/learning_rate", value(measured.learning_rate)},
      {"train/epoch", static_cast<float>(measured.epoch)},
      {"speed/step_time_s", value(measured.step_time.value)},
      {"speed/tokens_per_second", value(measured.tokens_per_second)},
      {"speed/mfu", value(measured.mfu)},
      {"speed/data_wait_share", value(measured.data_wait_share)},
      {"memory/peak_bytes", bytes(measured.peak_memory)},
      {"memory/active_bytes", bytes(measured.active_memory)},
      {"memory/reserved_bytes", bytes(measured.reserved_memory)}};
  if (measured.validation_loss)
    curves.push_back({"validation/loss", value(*measured.validation_loss)});
  return curves;
}

/// "1:02:03".
std::string clock_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(seconds);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

TrainingRecords::Files::Files(const std::filesystem::path& run)
    : metrics(formats::metrics_path(run)),
      epochs(formats::epochs_path(run)),
      tensorboard(formats::tensorboard_path(run)) {}

TrainingRecords::TrainingRecords(const TrainingOptions& options, std::int64_t rank,
                                 const RunLength& length)
    : options_(options), rank_(rank), length_(length) {
  if (rank_ == 0) files_ = std::make_unique<Files>(options_.run_folder);
}

void TrainingRecords::add_step(const formats::StepMetrics& measured, std::int64_t step_of_epoch) {
  step_times_.push_back(measured.step_time.value);
  if (!files_) return;
  files_->metrics.append(formats::to_json(measured));
  files_->tensorboard.add(measured.step, curves_of(measured));
  const std::int64_t done = measured.step + 1;
  const bool due = done % options_.log_interval == 0 || done == length_.total_steps ||
                   step_times_.size() == 1 || measured.validation_loss;
  if (due) say_progress(measured, step_of_epoch);
}

void TrainingRecords::say_progress(const formats::StepMetrics& measured,
                                   std::int64_t step_of_epoch) const {
  const std::int64_t done = measured.step + 1;
  const std::int64_t left = length_.total_steps - done;
  const std::int64_t of_epoch = std::min(length_.steps_per_epoch, step_of_epoch + left);
  const double per_step = std::chrono::duration<double>(Clock::now() - start_).count() /
                          static_cast<double>(step_times_.size());
  std::string line = fmt::format("Epoch: {} Step: {}/{} Loss: {:.4f}", measured.epoch,
                                 step_of_epoch, of_epoch, measured.loss);
  if (measured.validation_loss)
    line += fmt::format("  validation {:.4f}", *measured.validation_loss);
  spdlog::info("{}  grad norm {:.3f}  lr {:.2e}  {}  {:.0f} tokens/s  MFU {:.1f} %  ETA {}", line,
               measured.grad_norm, measured.learning_rate, common::human(measured.step_time),
               measured.tokens_per_second, 100 * measured.mfu,
               clock_text(per_step * static_cast<double>(left)));
}

void TrainingRecords::add_epoch(const EpochLoss& epoch) {
  const Clock::time_point now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - epoch_start_).count();
  epoch_start_ = now;
  if (!files_) return;
  if (epoch.steps == 0) {
    spdlog::warn("Epoch {} processed zero batches. Skipping checkpoint and continuing.",
                 epoch.epoch);
    return;
  }
  if (epoch.steps == options_.debug_steps)
    spdlog::info("Debug steps finished. Stopping epoch {}.", epoch.epoch);
  const double average = epoch.loss_sum / static_cast<double>(epoch.steps);
  spdlog::info("Epoch {} completed. Average loss: {:.4f}", epoch.epoch, average);
  files_->epochs.append(formats::to_json(formats::EpochMetrics{.epoch = epoch.epoch,
                                                               .steps = epoch.steps,
                                                               .loss = average,
                                                               .time = common::Seconds(seconds)}));
  const formats::Scalar curve{"train/epoch_loss", static_cast<float>(average)};
  files_->tensorboard.add(epoch.epoch, std::span(&curve, 1));
}

void TrainingRecords::finish(const CollectiveLog& log, const TraceRecorder& trace,
                             c10::Device device) const {
  std::vector<formats::RecordedCollective> issued;
  for (const IssuedCollective& collective : log.issued()) {
    issued.push_back({planner::to_string(collective.kind), planner::to_string(collective.axis),
                      collective.bytes});
  }
  const std::filesystem::path& run = options_.run_folder;
  formats::write_recorded_collectives(formats::collectives_path(run, rank_), issued);
  formats::write_chrome_trace(formats::trace_path(run, rank_), trace.trace(log));
  formats::write_summary(run, {.rank = rank_,
                               .steps = static_cast<std::int64_t>(step_times_.size()),
                               .peak_allocated = peak_allocated(device),
                               .peak_communication = memory_counts().library_peak,
                               .median_step_time = median_step_time()});
}

common::Seconds TrainingRecords::median_step_time() const {
  if (step_times_.empty()) return common::Seconds(0);
  // The first two steps touch memory and connections for the first time.
  const std::size_t warm = step_times_.size() > 4 ? 2 : 0;
  std::vector<double> times(step_times_.begin() + static_cast<std::ptrdiff_t>(warm),
                            step_times_.end());
  std::sort(times.begin(), times.end());
  const std::size_t middle = times.size() / 2;
  return common::Seconds(times.size() % 2 == 1 ? times[middle]
                                               : (times[middle - 1] + times[middle]) / 2);
}

}  // namespace meshplan::executor
