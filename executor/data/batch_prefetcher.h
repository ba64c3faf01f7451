#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <variant>
#include <vector>

#include "executor/data/batches.h"

namespace meshplan::executor {

/// The order in which a run takes batches.
struct StepOrder {
  /// Batches of a step; all of one epoch.
  std::int64_t accumulation = 1;
  /// At least 1.
  std::int64_t steps_per_epoch = 1;
};

/// Reads the batches of the steps to come, epoch after epoch without end, on a thread of its own,
/// at most two steps ahead. What it gives does not depend on when it was read.
class BatchPrefetcher {
 public:
  /// `stream` outlives the prefetcher and is left alone meanwhile. `first` is the first step's
  /// first batch.
  BatchPrefetcher(BatchStream& stream, const StepOrder& order, const BatchPosition& first);
  ~BatchPrefetcher();
  BatchPrefetcher(const BatchPrefetcher&) = delete;
  BatchPrefetcher& operator=(const BatchPrefetcher&) = delete;

  /// The next step's batches; throws what reading them threw, now and from then on.
  std::vector<HostBatch> next();

 private:
  using Step = std::variant<std::vector<HostBatch>, std::exception_ptr>;

  void read_all(BatchPosition position);
  Step read_step(const BatchPosition& position);
  /// False once the prefetcher is to end.
  bool hand_over(Step step);

  BatchStream& stream_;
  StepOrder order_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Step> ready_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace meshplan::executor
