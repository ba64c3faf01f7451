#pragma once

#include <chrono>
#include <vector>

#include "common/units.h"
#include "planner/cluster/cluster_spec.h"
#include "planner/layout/device_mesh.h"

namespace meshplan::executor {

/// One collective as it was issued. bytes: all_reduce the tensor; all_gather its output;
/// reduce_scatter its input.
struct IssuedCollective {
  planner::CollectiveKind kind;
  planner::Axis axis;
  common::Bytes bytes;

  bool operator==(const IssuedCollective&) const = default;
};

/// When a collective was issued, and when the wait for it ended.
struct CollectiveTiming {
  std::chrono::steady_clock::time_point issued;
  std::chrono::steady_clock::time_point waited;
};

/// The collectives that this rank issued since the last clear(), in order.
class CollectiveLog {
 public:
  /// While one lives, the log takes nothing in: for what is no part of a training step.
  class Pause {
   public:
    explicit Pause(CollectiveLog& log) : log_(log) { log_.paused_ = true; }
    ~Pause() { log_.paused_ = false; }
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;

   private:
    CollectiveLog& log_;
  };

  /// Returns the collective's index. Not yet waited for, it counts as waited for when issued.
  std::size_t add(const IssuedCollective& collective) {
    if (paused_) return static_cast<std::size_t>(-1);
    const auto now = std::chrono::steady_clock::now();
    issued_.push_back(collective);
    timings_.push_back({now, now});
    return issued_.size() - 1;
  }
  /// The wait for the collective with that index has ended; one that was cleared is passed over.
  void mark_waited(std::size_t index) {
    if (index < timings_.size()) timings_[index].waited = std::chrono::steady_clock::now();
  }
  void clear() {
    issued_.clear();
    timings_.clear();
  }
  const std::vector<IssuedCollective>& issued() const { return issued_; }
  const std::vector<CollectiveTiming>& timings() const { return timings_; }

 private:
  std::vector<IssuedCollective> issued_;
  std::vector<CollectiveTiming> timings_;
  bool paused_ = false;
};

}  // namespace meshplan::executor
