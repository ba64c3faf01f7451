#include "simulator/goodput/played_runs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace meshplan::simulator {
namespace {

/// Seconds of training that a time up keeps, and undoes when it ends in a failure.
struct TimeUp {
  double kept = 0;
  double checkpoints = 0;
};

class Run {
 public:
  Run(const FailureModel& model, common::Seconds interval, std::uint64_t seed)
      : rate_(failure_rate(model)),
        down_((model.detection + model.restart).value),
        blocking_(model.checkpoint_blocking.value),
        async_(model.checkpoint_async.value),
        interval_(interval.value),
        random_(seed) {}

  PlayedRun play(double time) {
    PlayedRun run;
    double kept = 0;
    double checkpoints = 0;
    double down = 0;
    double left = time;
    while (true) {
      const double up = until_failure();
      const TimeUp part = up < left ? fails_after(up) : ends_after(left);
      kept += part.kept;
      checkpoints += part.checkpoints;
      if (up >= left) break;
      left -= up;
      ++run.failures;
      const double used = restart(left, run.failures);
      down += used;
      left -= used;
      if (left <= 0) break;
    }
    run.shares = {.useful = kept / time, .checkpoints = checkpoints / time, .down = down / time};
    run.shares.rework =
        std::max(0.0, 1 - run.shares.useful - run.shares.checkpoints - run.shares.down);
    return run;
  }

 private:
  double until_failure() {
    if (rate_ == 0) return std::numeric_limits<double>::infinity();
    // 53 random bits in [0, 1).
    const double uniform = static_cast<double>(random_() >> 11) * 0x1p-53;
    return -std::log1p(-uniform) / rate_;
  }

  /// Time until training goes on, `left` at most; each failure in it begins anew.
  double restart(double left, std::int64_t& failures) {
    double used = 0;
    while (used < left) {
      const double up = until_failure();
      if (up >= down_) return std::min(left, used + down_);
      used += up;
      if (used < left) ++failures;
    }
    return left;
  }

  TimeUp fails_after(double up) const {
    const double segment = interval_ + blocking_;
    double whole = std::floor(up / segment);
    // The last checkpoint is not on storage yet.
    if (whole >= 1 && up - whole * segment < async_) whole -= 1;
    return {.kept = whole * interval_, .checkpoints = whole * blocking_};
  }

  TimeUp ends_after(double up) const {
    const double segment = interval_ + blocking_;
    const double whole = std::floor(up / segment);
    const double rest = up - whole * segment;
    return {.kept = whole * interval_ + std::min(rest, interval_),
            .checkpoints = whole * blocking_ + std::max(0.0, rest - interval_)};
  }

  double rate_;
  double down_;
  double blocking_;
  double async_;
  double interval_;
  std::mt19937_64 random_;
};

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const double last = static_cast<double>(values.size() - 1);
  const auto at = [&](double share) {
    return values[static_cast<std::size_t>(std::lround(share * last))];
  };
  double sum = 0;
  for (const double value : values) sum += value;
  return {.mean = sum / static_cast<double>(values.size()), .low = at(0.05), .high = at(0.95)};
}

}  // namespace

std::vector<PlayedRun> play_runs(const FailureModel& model, common::Seconds interval,
                                 common::Seconds time, std::int64_t runs, std::uint64_t seed) {
  std::vector<PlayedRun> played;
  for (std::int64_t run = 0; run < runs; ++run) {
    // Consecutive seeds are far apart once mt19937_64 has mixed them into its state.
    Run one(model, interval, seed + static_cast<std::uint64_t>(run));
    played.push_back(one.play(time.value));
  }
  return played;
}

PlayedGoodput summarize(const std::vector<PlayedRun>& runs) {
  std::vector<double> failures;
  std::vector<double> useful;
  for (const PlayedRun& run : runs) {
    failures.push_back(static_cast<double>(run.failures));
    useful.push_back(run.shares.useful);
  }
  return {.failures = spread_of(std::move(failures)), .useful = spread_of(std::move(useful))};
}

}  // namespace meshplan::simulator
