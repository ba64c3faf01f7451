#include "executor/launch/stop_agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

namespace meshplan::executor {
namespace {

constexpr const char* kStop = "stop";
constexpr std::chrono::milliseconds kPoll{20};

std::string pin_key(std::int64_t rank) { return fmt::format("stop/{}", rank); }

}  // namespace

bool StopAgreement::request(int signal) {
  const std::scoped_lock lock(mutex_);
  if (requested_at_) return false;
  signal_ = signal;
  requested_at_ = std::chrono::steady_clock::now();
  return true;
}

std::optional<std::chrono::steady_clock::time_point> StopAgreement::requested_at() const {
  const std::scoped_lock lock(mutex_);
  return requested_at_;
}

int StopAgreement::signal() const {
  const std::scoped_lock lock(mutex_);
  return last_ ? signal_ : 0;
}

void StopAgreement::poll(c10d::Store& store) {
  std::optional<std::int64_t> pinned;
  bool requested = false;
  int signal = 0;
  {
    const std::scoped_lock lock(mutex_);
    if (last_) return;
    pinned = pinned_;
    requested = requested_at_.has_value();
    signal = signal_;
  }
  if (!pinned) {
    if (requested) store.set(kStop, std::to_string(signal));
    if (!requested && !store.check({kStop})) return;
    {
      const std::scoped_lock lock(mutex_);
      pinned = pinned_ = current_;
    }
    store.set(pin_key(rank_), std::to_string(*pinned));
  }
  std::vector<std::string> keys;
  for (std::int64_t rank = 0; rank < world_size_; ++rank) keys.push_back(pin_key(rank));
  if (!store.check(keys)) return;
  std::int64_t last = *pinned;
  for (const std::string& key : keys)
    last = std::max<std::int64_t>(last, std::stoll(store.get_to_str(key)));
  signal = std::stoi(store.get_to_str(kStop));
  const std::scoped_lock lock(mutex_);
  signal_ = signal;
  last_ = last;
  changed_.notify_all();
}

bool StopAgreement::may_start(std::int64_t step, const std::function<void()>& while_waiting) {
  std::unique_lock lock(mutex_);
  while (pinned_ && !last_ && step > *pinned_) {
    changed_.wait_for(lock, kPoll);
    if (last_) break;
    lock.unlock();
    while_waiting();
    lock.lock();
  }
  if (last_ && step > *last_) return false;
  current_ = step;
  return true;
}

}  // namespace meshplan::executor
