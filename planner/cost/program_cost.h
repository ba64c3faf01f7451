#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "planner/cost/instruction_cost.h"
#include "planner/cost/short_program.h"
#include "planner/cost/time_form.h"

namespace meshplan::planner {

/// In bytes, by class.
using ByteCounts = std::array<std::int64_t, kMemoryClasses>;

/// What goes over an axis.
struct AxisCounts {
  std::int64_t bytes = 0;
  std::int64_t wire_bytes = 0;
  std::int64_t operations = 0;
};
using TrafficCounts = std::array<AxisCounts, kAxes.size()>;

/// Axes by their bit.
using AxisSet = std::uint8_t;

/// An instruction's cost without what only a full estimate tells. What every program is set up from
/// comes first, to share a cache line.
struct alignas(64) KindCost {
  KindTime time;
  /// Those that have traffic.
  AxisSet axes = 0;
  /// Whether net is not 0 throughout.
  bool moves = false;
  std::int64_t net_total = 0;
  std::int64_t peak_total = 0;
  TrafficCounts traffic{};
  ByteCounts net{};
  ByteCounts peak{};
};
KindCost kind_cost(const InstructionCost& cost);

/// What a program costs at any length, from what its kinds of instruction cost.
class ProgramCost {
 public:
  /// Takes the place of the program there was. Costs are by kind; both have to outlive their use.
  void set(const ShortProgram& program, std::span<const KindCost* const> kinds);

  /// A rank of a pipeline's stage of so many chunks that runs the program, longer by `growth`.
  TimedPlayer player(const Growth& growth, std::size_t chunks) const {
    return TimedPlayer(*playback_, growth, TimedRank(times_), chunks);
  }

  /// The step's time in seconds; the program is longer by `growth`, as it is for all of these.
  double step_time(const Growth& growth) const;
  /// The same but for rounding, quicker where the last such program was alike.
  double step_time_of_many(const Growth& growth);

  /// What the step holds at its highest, above what it holds all through.
  ByteCounts peak_memory(const Growth& growth);
  /// The sum of it, which takes a fraction of the time.
  std::int64_t peak_total(const Growth& growth) const { return highest_moment(growth).total; }

  TrafficCounts traffic(const Growth& growth) const;

 private:
  template <class Counts>
  using Form = std::array<Counts, kTerms>;

  /// One repetition of a segment: memory's total afterwards, and where it was highest, above what
  /// was held before.
  struct Swing {
    std::int64_t net = 0;
    std::int64_t peak = 0;
    std::uint32_t at = 0;
  };

  /// Where in the step memory is highest: in the first or the last repetition of a segment, in the
  /// first or the last of its phase; and how much is held there.
  struct Moment {
    std::int64_t total = 0;
    std::size_t phase = 0;
    std::size_t segment = 0;
    bool last_of_segment = false;
    bool last_of_phase = false;

    bool is_at(const Moment& other) const {
      return phase == other.phase && segment == other.segment &&
             last_of_segment == other.last_of_segment && last_of_phase == other.last_of_phase;
    }
  };

  const KindCost& cost_of(const Repeated& segment, std::uint32_t instruction) const {
    return *kinds_[playback_->instructions[segment.first + instruction].kind];
  }
  Swing swing_of(const Repeated& segment) const;
  void add_traffic(const KindRuns& runs);
  Moment highest_moment(const Growth& growth) const;
  /// Leaves what is held at the moment in held_.
  void add_up_until(const Moment& moment);
  void hold(const Repeated& segment, std::uint32_t instructions, const Terms& runs);

  const Playback* playback_ = nullptr;
  std::vector<const KindCost*> kinds_;
  std::vector<KindTime> times_;
  /// Of the segments of phases' first repetitions, by their index.
  std::vector<Swing> swings_;
  Form<TrafficCounts> traffic_{};
  /// Found by the last of many that was played.
  TimeForm time_;
  std::optional<Moment> moment_;
  Form<ByteCounts> held_{};
};

}  // namespace meshplan::planner
