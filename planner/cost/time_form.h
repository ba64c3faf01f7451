#pragma once

#include <array>

#include "planner/cost/timed_rank.h"

namespace meshplan::planner {

/// The end of a program as a linear form of its terms, for the lengths that it was found to hold
/// for: those whose repetitions are no fewer than were played until they were steady.
struct TimeForm {
  std::array<double, kTerms> seconds{};
  Growth least{};
  /// Whether it holds for any length but the one that was played.
  bool holds = true;

  bool covers(const Growth& growth) const {
    bool covered = holds;
    for (std::size_t i = 0; i < growth.size(); ++i) covered = covered && growth[i] >= least[i];
    return covered;
  }
  double at(const Growth& growth) const {
    const Terms terms = terms_of(growth);
    double sum = 0;
    for (std::size_t t = 0; t < kTerms; ++t) sum += seconds[t] * static_cast<double>(terms[t]);
    return sum;
  }
};

/// A rank's time, and how it grows with the program. What is skipped leaves every stream as far
/// ahead as it was, however long it is; where that is not so the form does not hold.
class FormRank {
 public:
  FormRank(const std::vector<KindTime>& kinds, const Growth& growth)
      : rank_(kinds), growth_(growth) {}

  const StreamClock& clock() const { return rank_.clock(); }
  void play(const PlayedInstruction& instruction) { rank_.play(instruction); }

  struct Mark {
    StreamClock::Mark clock;
    /// Seconds for each block that a region grows by.
    std::array<double, kRegions> of_block;
  };
  Mark mark(const QueueUse& use) const { return {rank_.mark(use), of_block()}; }
  bool is_steady_since(const Mark& before, const QueueUse& use) const {
    return rank_.is_steady_since(before.clock, use);
  }
  void skip(const Mark& before, const Repeated& repeated, std::int64_t times);
  void end_unsteady(const Repeated& repeated);

  /// Once all is played.
  TimeForm form() const;

 private:
  std::array<double, kRegions> of_block() const {
    return {form_.seconds[1], form_.seconds[2], form_.seconds[3]};
  }
  void require_as_long(const Repeated& repeated, std::int64_t repetitions);
  void add_phases(const Mark& before, const Repetition& repetition, std::int64_t times,
                  double once);

  TimedRank rank_;
  Growth growth_;
  TimeForm form_;
};

}  // namespace meshplan::planner
