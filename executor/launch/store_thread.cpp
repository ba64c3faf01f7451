#include "executor/launch/store_thread.h"

#include <exception>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <utility>

namespace meshplan::executor {

StoreThread::StoreThread(c10::intrusive_ptr<c10d::Store> store, std::chrono::milliseconds period,
                         Call periodic, std::function<void(const std::string&)> on_lost)
    : store_(std::move(store)),
      period_(period),
      periodic_(std::move(periodic)),
      on_lost_(std::move(on_lost)) {
  // run() begins with the lock, so it sees thread_ set.
  const std::scoped_lock lock(mutex_);
  thread_ = std::thread([this] { run(); });
}

StoreThread::~StoreThread() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

bool StoreThread::ask(Call call, std::chrono::milliseconds patience) {
  if (std::this_thread::get_id() == thread_.get_id()) {
    try {
      call(*store_);
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }
  auto task = std::make_shared<Task>();
  task->call = std::move(call);
  std::unique_lock lock(mutex_);
  tasks_.push_back(task);
  changed_.notify_all();
  changed_.wait_for(lock, patience, [&] { return task->done; });
  return task->succeeded;
}

void StoreThread::run() {
  std::unique_lock lock(mutex_);
  auto next = std::chrono::steady_clock::now() + period_;
  while (!stopping_) {
    if (!tasks_.empty()) {
      run_task(lock);
    } else if (!periodic_) {
      changed_.wait(lock);
    } else if (std::chrono::steady_clock::now() < next) {
      changed_.wait_until(lock, next);
    } else {
      run_periodic(lock);
      next = std::chrono::steady_clock::now() + period_;
    }
  }
}

void StoreThread::run_task(std::unique_lock<std::mutex>& lock) {
  const std::shared_ptr<Task> task = std::move(tasks_.front());
  tasks_.pop_front();
  lock.unlock();
  bool succeeded = true;
  try {
    task->call(*store_);
  } catch (const std::exception&) {
    succeeded = false;
  }
  lock.lock();
  task->succeeded = succeeded;
  task->done = true;
  changed_.notify_all();
}

void StoreThread::run_periodic(std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  std::string lost;
  try {
    periodic_(*store_);
  } catch (const std::exception& error) {
    lost = error.what();
  }
  if (!lost.empty()) {
    periodic_ = nullptr;
    on_lost_(lost);
  }
  lock.lock();
}

}  // namespace meshplan::executor
