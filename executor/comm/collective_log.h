#pragma once

#include <chrono>
#include <vector>

#include "common/units.h"
#include "executor/comm/device_clock.h"
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

/// On CPU, when a collective was issued and when the wait for it ended; on a device's stream, when
/// the stream came to it and when it was done.
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
    marks_.emplace_back();
    return issued_.size() - 1;
  }
  /// The wait for the collective with that index has ended; one that was cleared is passed over.
  void mark_waited(std::size_t index) {
    if (index < timings_.size()) timings_[index].waited = std::chrono::steady_clock::now();
  }
  /// The collective with that index runs on a stream, between these marks.
  void set_marks(std::size_t index, DeviceMark begin, DeviceMark end) {
    marks_[index] = {std::move(begin), std::move(end)};
  }
  void clear() {
    issued_.clear();
    timings_.clear();
    marks_.clear();
  }
  const std::vector<IssuedCollective>& issued() const { return issued_; }

  /// One for each issued collective. With a clock, those on a stream are as the device ran them,
  /// and the host waits for the last of them; without, as the host saw them.
  std::vector<CollectiveTiming> timings(DeviceClock* clock = nullptr) const {
    std::vector<CollectiveTiming> timings = timings_;
    for (std::size_t i = 0; clock != nullptr && i < timings.size(); ++i) {
      if (!marks_[i].end) continue;
      timings[i] = {clock->time_of(marks_[i].begin), clock->time_of(marks_[i].end)};
    }
    return timings;
  }

 private:
  struct Marks {
    DeviceMark begin;
    DeviceMark end;
  };

  std::vector<IssuedCollective> issued_;
  std::vector<CollectiveTiming> timings_;
  bool paused_ = false;
  std::vector<Marks> marks_;
};

}  // namespace meshplan::executor
