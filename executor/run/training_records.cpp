#include "executor/run/training_records.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "common/text.h"
#include "executor/memory/counting_allocator.h"
#include "executor/memory/device.h"
#include "formats/recorded_collectives.h"
#include "formats/run_folder.h"

namespace meshplan::executor {

TrainingRecords::TrainingRecords(const TrainingOptions& options, std::int64_t rank,
                                 std::int64_t total_steps, std::int64_t steps_per_epoch)
    : options_(options), rank_(rank), total_steps_(total_steps), steps_per_epoch_(steps_per_epoch) {
  if (rank_ == 0) metrics_.emplace(formats::metrics_path(options_.run_folder));
}

void TrainingRecords::add_step(const formats::StepMetrics& measured, std::int64_t step_of_epoch) {
  step_times_.push_back(measured.step_time.value);
  if (!metrics_) return;
  metrics_->append(measured);
  const std::int64_t done = measured.step + 1;
  if (done % options_.log_interval != 0 && done != total_steps_ && measured.step != 0) return;
  spdlog::info("Epoch: {} Step: {}/{} Loss: {:.4f}  grad norm {:.3f}  {}  {:.0f} tokens/s",
               measured.epoch, step_of_epoch, steps_per_epoch_, measured.loss, measured.grad_norm,
               common::human(measured.step_time), measured.tokens_per_second);
}

void TrainingRecords::add_epoch(const EpochLoss& epoch) {
  if (rank_ != 0) return;
  if (epoch.steps == 0) {
    spdlog::warn("Epoch {} processed zero batches. Skipping checkpoint and continuing.",
                 epoch.epoch);
    return;
  }
  spdlog::info("Epoch {} completed. Average loss: {:.4f}", epoch.epoch,
               epoch.loss_sum / static_cast<double>(epoch.steps));
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
                               .peak_communication = memory_counts().communication_peak,
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
