#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>

namespace c10d {
class Store;
}  // namespace c10d

namespace meshplan::executor {

/// How the ranks agree on the step before which all of them stop, without a collective. A rank that
/// is asked to stop says so in the store. Every rank that reads it pins itself: it finishes the
/// step under way, says which one that is, and starts none after it until all have said theirs. The
/// last of these steps is the run's last: no rank is beyond it, and each can reach it.
class StopAgreement {
 public:
  StopAgreement(std::int64_t rank, std::int64_t world_size)
      : rank_(rank), world_size_(world_size) {}

  /// Asks to stop because of this signal. True where this rank was not asked before.
  bool request(int signal);
  /// When it was first asked.
  std::optional<std::chrono::steady_clock::time_point> requested_at() const;
  /// The signal that the ranks stop because of; 0 while they do not.
  int signal() const;

  /// Reads and writes the store; from one thread at a time.
  void poll(c10d::Store& store);

  /// Before each step, on the thread that trains: false where the ranks stop before it. Where that
  /// is not decided, calls `while_waiting` again and again until it is.
  bool may_start(std::int64_t step, const std::function<void()>& while_waiting);

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t rank_;
  std::int64_t world_size_;
  std::optional<std::chrono::steady_clock::time_point> requested_at_;
  int signal_ = 0;
  /// The step under way.
  std::int64_t current_ = -1;
  /// The last step that this rank starts by itself.
  std::optional<std::int64_t> pinned_;
  /// The last step of all.
  std::optional<std::int64_t> last_;
};

}  // namespace meshplan::executor
