#include "executor/data/batch_prefetcher.h"

#include <utility>

namespace meshplan::executor {
namespace {

constexpr std::size_t kStepsAhead = 2;

}  // namespace

BatchPrefetcher::BatchPrefetcher(BatchStream& stream, const StepOrder& order,
                                 const BatchPosition& first)
    : stream_(stream), order_(order), thread_([this, first] { read_all(first); }) {}

BatchPrefetcher::~BatchPrefetcher() {
  {
    const std::scoped_lock lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

std::vector<HostBatch> BatchPrefetcher::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !ready_.empty(); });
  // A failure stays in front: there is nothing behind it.
  if (const auto* failure = std::get_if<std::exception_ptr>(&ready_.front()))
    std::rethrow_exception(*failure);
  std::vector<HostBatch> step = std::get<std::vector<HostBatch>>(std::move(ready_.front()));
  ready_.pop_front();
  lock.unlock();
  changed_.notify_all();
  return step;
}

void BatchPrefetcher::read_all(BatchPosition position) {
  for (;;) {
    Step step = read_step(position);
    const bool failed = std::holds_alternative<std::exception_ptr>(step);
    if (!hand_over(std::move(step)) || failed) return;
    position.batch += order_.accumulation;
    if (position.batch >= order_.steps_per_epoch * order_.accumulation)
      position = {position.epoch + 1, 0};
  }
}

BatchPrefetcher::Step BatchPrefetcher::read_step(const BatchPosition& position) {
  try {
    std::vector<HostBatch> batches;
    for (std::int64_t i = 0; i < order_.accumulation; ++i)
      batches.push_back(stream_.read({position.epoch, position.batch + i}));
    return batches;
  } catch (...) {
    return std::current_exception();
  }
}

bool BatchPrefetcher::hand_over(Step step) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ending_ || ready_.size() < kStepsAhead; });
  if (ending_) return false;
  ready_.push_back(std::move(step));
  lock.unlock();
  changed_.notify_all();
  return true;
}

}  // namespace meshplan::executor
