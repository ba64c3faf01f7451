#pragma once

#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace c10d {
class Store;
}  // namespace c10d

namespace meshplan::executor {

/// A thread with a store connection of its own: it makes one call every period, and in between what
/// other threads ask for. So nobody else is held up where the store's server does not answer.
class StoreThread {
 public:
  using Call = std::function<void(c10d::Store&)>;

  /// `on_lost` runs once on the thread, with the reason, when the periodic call throws; it is then
  /// made no more.
  StoreThread(c10::intrusive_ptr<c10d::Store> store, std::chrono::milliseconds period,
              Call periodic, std::function<void(const std::string&)> on_lost);
  /// Waits for the call under way.
  ~StoreThread();
  StoreThread(const StoreThread&) = delete;
  StoreThread& operator=(const StoreThread&) = delete;

  /// Runs the call on the thread; at once when asked on it. False when it threw, or did not return
  /// within `patience`: it may then still run, so it must own what it touches.
  bool ask(Call call, std::chrono::milliseconds patience = std::chrono::seconds(1));

 private:
  struct Task {
    Call call;
    bool done = false;
    bool succeeded = false;
  };

  void run();
  void run_task(std::unique_lock<std::mutex>& lock);
  void run_periodic(std::unique_lock<std::mutex>& lock);

  c10::intrusive_ptr<c10d::Store> store_;
  std::chrono::milliseconds period_;
  Call periodic_;
  std::function<void(const std::string&)> on_lost_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Task>> tasks_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace meshplan::executor
