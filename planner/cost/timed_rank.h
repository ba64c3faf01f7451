#pragma once

#include <vector>

#include "planner/cost/player.h"

namespace meshplan::planner {

/// An instruction's time, in seconds.
struct KindTime {
  double before = 0;
  /// Of the collective that it issues, and what that takes from compute.
  double duration = 0;
  double taken = 0;
  double after = 0;
  bool awaited = false;
};

/// A rank's time and nothing else.
class TimedRank {
 public:
  explicit TimedRank(const std::vector<KindTime>& kinds) : kinds_(kinds.data()) {}

  const StreamClock& clock() const { return clock_; }

  void play(const PlayedInstruction& instruction) {
    const auto [first, second] = instruction.waits;
    if (first != kNoEnd) clock_.compute_until(clock_.end(first));
    if (second != kNoEnd) clock_.compute_until(clock_.end(second));
    const KindTime& time = kinds_[instruction.kind];
    clock_.compute_for(time.before);
    if (instruction.queue == kNoQueue) return;
    const double end = clock_.issue(instruction.queue, time.duration);
    clock_.compute_for(time.taken);
    if (time.awaited) clock_.compute_until(end);
    clock_.compute_for(time.after);
  }

  void wait_for_message(double time) { clock_.compute_until(time); }

  using Mark = StreamClock::Mark;
  Mark mark(const QueueUse& use) const { return clock_.mark(use); }
  bool is_steady_since(const Mark& before, const QueueUse& use) const {
    return clock_.is_steady_since(before, use);
  }
  void skip(const Mark& before, const Repeated& repeated, std::int64_t times) {
    clock_.skip(before, repeated.use, times);
  }
  void end_unsteady(const Repeated& /*repeated*/) {}

 private:
  const KindTime* kinds_;
  StreamClock clock_;
};

using TimedPlayer = Player<TimedRank>;

}  // namespace meshplan::planner
