#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>

#include "planner/cost/playback.h"

namespace meshplan::planner {

/// The time on a rank's compute stream and on its queues of collectives, in seconds.
class StreamClock {
 public:
  double compute() const { return compute_; }
  double free(Queue queue) const { return queues_[queue].ends[0]; }
  double end(EndIndex index) const {
    return queues_[index / kRememberedEnds].ends[index % kRememberedEnds];
  }
  /// When the last stream ends.
  double end() const {
    double end = compute_;
    for (const State& queue : queues_) end = std::max(end, queue.ends[0]);
    return end;
  }

  void compute_for(double seconds) { compute_ += seconds; }
  void compute_until(double time) { compute_ = std::max(compute_, time); }

  /// A collective starts once its queue is free and compute has come to it; returns its end.
  double issue(Queue queue, double duration) {
    State& state = queues_[queue];
    state.issued_at = compute_;
    state.duration = duration;
    state.remember(std::max(state.ends[0], compute_) + duration);
    return state.ends[0];
  }

  /// How far ahead of compute queues are, of those that a repetition depends on. What has ended
  /// does not matter any more.
  struct Mark {
    double compute = 0;
    std::array<double, kQueues * kRememberedEnds> lags{};
  };
  Mark mark(const QueueUse& use) const {
    Mark mark;
    mark.compute = compute_;
    double* lag_at = mark.lags.data();
    each_dependent(use, [&](const State& queue) {
      for (double end : queue.ends) *lag_at++ = lag(end);
      return true;
    });
    return mark;
  }

  /// Whether they are as far ahead as they were before a repetition, so that any further one takes
  /// as long.
  bool is_steady_since(const Mark& before, const QueueUse& use) const {
    const double* lag_at = before.lags.data();
    return each_dependent(use, [&](const State& queue) {
      bool same = true;
      for (double end : queue.ends) same = is_rounding(lag(end) - *lag_at++) && same;
      return same;
    });
  }

  /// Whether a difference of times is no more than sums of them are off by.
  bool is_rounding(double difference) const { return std::abs(difference) <= kRounding * compute_; }

  /// The fewest repetitions, up to `times`, that may be skipped as so many are: after fewer a queue
  /// that nothing waits for would still be behind. Nothing where it falls behind for good.
  std::optional<std::int64_t> least_skip(const Mark& before, const QueueUse& use,
                                         std::int64_t times) const {
    const double once = compute_ - before.compute;
    const QueueSet follows = dependent(use);
    std::int64_t least = 0;
    for (Queue q = 0; q < kQueues; ++q) {
      if ((use.issued >> q & 1) == 0 || (follows >> q & 1) == 1) continue;
      const State& queue = queues_[q];
      const double behind = queue.ends[0] - queue.issued_at - queue.duration;
      if (once < queue.duration) return std::nullopt;
      if (is_rounding(behind)) continue;
      const double needed = std::ceil(behind / (once - queue.duration));
      if (!(needed <= static_cast<double>(times))) return std::nullopt;
      least = std::max(least, static_cast<std::int64_t>(needed));
    }
    return least;
  }

  /// Whether it issues on a queue that nothing in it waits for.
  static bool leaves_alone(const QueueUse& use) { return (use.issued & ~dependent(use)) != 0; }

  /// Whether all collectives have ended but those of queues that it issues on.
  bool has_ended_but(const QueueUse& use) const {
    for (Queue q = 0; q < kQueues; ++q) {
      if ((use.issued >> q & 1) == 0 && lag(queues_[q].ends[0]) > 0) return false;
    }
    return true;
  }

  /// Goes on by so many repetitions like the one since `before`, which was steady.
  void skip(const Mark& before, const QueueUse& use, std::int64_t times) {
    if (times == 0) return;
    const auto n = static_cast<double>(times);
    const double once = compute_ - before.compute;
    const QueueSet follows = dependent(use);
    for (Queue q = 0; q < kQueues; ++q) {
      State& queue = queues_[q];
      if ((use.issued >> q & 1) == 0) continue;
      if ((follows >> q & 1) == 1) {
        for (double& end : queue.ends) end += n * once;
      } else {
        queue.work_off(once, times);
      }
    }
    compute_ += n * once;
  }

 private:
  struct State {
    /// The last one's is when the queue is free.
    std::array<double, kRememberedEnds> ends{};
    double issued_at = 0;
    double duration = 0;

    /// Goes on by so many collectives, one each time that compute has gone on by `once`. Nothing
    /// waits for them meanwhile: the queue works off what compute issues, at its own pace. The last
    /// of n more starts when it is issued, or ends n durations after some earlier one began.
    void work_off(double once, std::int64_t times) {
      const std::array<double, kRememberedEnds> before = ends;
      const auto end_after = [&](std::int64_t more) {
        const auto n = static_cast<double>(more);
        return std::max({before[0] + n * duration, issued_at + once + n * duration,
                         issued_at + n * once + duration});
      };
      for (std::size_t age = 0; age < kRememberedEnds; ++age) {
        const auto back = static_cast<std::int64_t>(age);
        ends[age] =
            back < times ? end_after(times - back) : before[static_cast<std::size_t>(back - times)];
      }
    }

    void remember(double end) {
      for (std::size_t i = kRememberedEnds - 1; i > 0; --i) ends[i] = ends[i - 1];
      ends[0] = end;
    }
  };

  /// Part of the time that is taken for rounding.
  static constexpr double kRounding = 1e-13;

  /// Queues whose times later instructions may depend on.
  static QueueSet dependent(const QueueUse& use) {
    return static_cast<QueueSet>(use.awaited | (use.issued & use.several));
  }
  /// Until the body says false; whether it never did.
  template <class Body>
  bool each_dependent(const QueueUse& use, const Body& body) const {
    const QueueSet dependent_queues = dependent(use);
    for (Queue q = 0; q < kQueues; ++q) {
      if ((dependent_queues >> q & 1) == 1 && !body(queues_[q])) return false;
    }
    return true;
  }
  double lag(double time) const { return std::max(0.0, time - compute_); }

  double compute_ = 0;
  std::array<State, kQueues> queues_{};
};

}  // namespace meshplan::planner
