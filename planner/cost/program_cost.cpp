#include "planner/cost/program_cost.h"

#include <bit>

namespace meshplan::planner {
namespace {

void add(ByteCounts& sum, const ByteCounts& more, std::int64_t times) {
  for (std::size_t c = 0; c < kMemoryClasses; ++c) sum[c] += times * more[c];
}

void add(TrafficCounts& sum, const TrafficCounts& more, std::int64_t times) {
  for (std::size_t a = 0; a < kAxes.size(); ++a) {
    sum[a].bytes += times * more[a].bytes;
    sum[a].wire_bytes += times * more[a].wire_bytes;
    sum[a].operations += times * more[a].operations;
  }
}

template <class Counts>
Counts at(const std::array<Counts, kTerms>& form, const Growth& growth) {
  Counts sum = form[0];
  const Terms terms = terms_of(growth);
  for (std::size_t t = 1; t < kTerms; ++t) {
    if (terms[t] != 0) add(sum, form[t], terms[t]);
  }
  return sum;
}

template <class Counts>
void add(std::array<Counts, kTerms>& form, const Counts& more, const Terms& runs) {
  for (std::size_t t = 0; t < kTerms; ++t) {
    if (runs[t] != 0) add(form[t], more, runs[t]);
  }
}

/// Memory as parts are added that each change it by the same in every repetition, so that the first
/// or the last is highest.
struct Level {
  std::int64_t now = 0;
  std::int64_t peak = 0;

  /// True when the part is higher than all before.
  bool add(std::int64_t net, std::int64_t part_peak, std::int64_t times) {
    const std::int64_t highest = now + (net > 0 ? (times - 1) * net : 0) + part_peak;
    const bool higher = highest > peak;
    if (higher) peak = highest;
    now += times * net;
    return higher;
  }
};

/// All but the last of its repetitions.
Repetition without_last(Repetition repetition) {
  --repetition.count;
  return repetition;
}

}  // namespace

KindCost kind_cost(const InstructionCost& cost) {
  KindCost kind{.time = {.before = cost.before.total.value, .after = cost.after.total.value},
                .net_total = cost.net_total.value,
                .peak_total = cost.peak_total.value};
  if (cost.issued) {
    kind.time.awaited = cost.issued->awaited;
    kind.time.duration = cost.issued->duration.value;
    kind.time.taken = cost.issued->taken.value;
  }
  for (std::size_t c = 0; c < kMemoryClasses; ++c) {
    kind.net[c] = cost.net[c].value;
    kind.peak[c] = cost.peak[c].value;
    kind.moves = kind.moves || kind.net[c] != 0;
  }
  for (std::size_t a = 0; a < kAxes.size(); ++a) {
    const AxisTraffic& axis = cost.traffic[a];
    kind.traffic[a] = {axis.bytes.value, axis.wire_bytes.value, axis.operations};
    if (axis.operations > 0) kind.axes |= static_cast<AxisSet>(1 << a);
  }
  return kind;
}

void ProgramCost::set(const ShortProgram& program, std::span<const KindCost* const> kinds) {
  playback_ = &program.playback;
  kinds_.assign(kinds.begin(), kinds.end());
  times_.clear();
  traffic_ = {};
  for (const KindCost* kind : kinds_) times_.push_back(kind->time);
  for (const KindRuns& runs : program.runs) add_traffic(runs);
  time_.holds = false;
  moment_.reset();
  swings_.assign(playback_->segments.size(), {});
  for (const Repeated& phase : playback_->phases) {
    for (std::uint32_t s = phase.first; s < phase.first + phase.size; ++s)
      swings_[s] = swing_of(playback_->segments[s]);
  }
}

ProgramCost::Swing ProgramCost::swing_of(const Repeated& segment) const {
  Swing swing;
  for (std::uint32_t i = 0; i < segment.size; ++i) {
    const KindCost& cost = cost_of(segment, i);
    if (swing.net + cost.peak_total > swing.peak) {
      swing.peak = swing.net + cost.peak_total;
      swing.at = i;
    }
    swing.net += cost.net_total;
  }
  return swing;
}

void ProgramCost::add_traffic(const KindRuns& runs) {
  const KindCost& kind = *kinds_[runs.kind];
  for (unsigned axes = kind.axes; axes != 0; axes &= axes - 1) {
    const auto a = static_cast<std::size_t>(std::countr_zero(axes));
    AxisCounts& sum = traffic_[runs.term][a];
    sum.bytes += runs.times * kind.traffic[a].bytes;
    sum.wire_bytes += runs.times * kind.traffic[a].wire_bytes;
    sum.operations += runs.times * kind.traffic[a].operations;
  }
}

double ProgramCost::step_time(const Growth& growth) const {
  TimedPlayer player(*playback_, growth, TimedRank(times_));
  player.play();
  return player.rank().clock().end();
}

double ProgramCost::step_time_of_many(const Growth& growth) {
  if (time_.covers(growth)) return time_.at(growth);
  Player<FormRank> player(*playback_, growth, FormRank(times_, growth));
  player.play();
  time_ = player.rank().form();
  return player.rank().clock().end();
}

TrafficCounts ProgramCost::traffic(const Growth& growth) const { return at(traffic_, growth); }

ByteCounts ProgramCost::peak_memory(const Growth& growth) {
  const Moment moment = highest_moment(growth);
  if (!moment_ || !moment_->is_at(moment)) add_up_until(moment);
  moment_ = moment;
  return at(held_, growth);
}

ProgramCost::Moment ProgramCost::highest_moment(const Growth& growth) const {
  Moment highest;
  Level step;
  for (std::size_t p = 0; p < playback_->phases.size(); ++p) {
    const Repeated& phase = playback_->phases[p];
    Moment moment{.phase = p};
    Level level;
    for (std::size_t s = phase.first; s < phase.first + phase.size; ++s) {
      const Swing& swing = swings_[s];
      const std::int64_t times = count_of(playback_->segments[s].repetition, growth);
      if (!level.add(swing.net, swing.peak, times)) continue;
      moment.segment = s;
      moment.last_of_segment = swing.net > 0;
    }
    if (!step.add(level.now, level.peak, count_of(phase.repetition, growth))) continue;
    highest = moment;
    highest.last_of_phase = level.now > 0;
  }
  highest.total = step.peak;
  return highest;
}

void ProgramCost::hold(const Repeated& segment, std::uint32_t instructions, const Terms& runs) {
  ByteCounts once{};
  for (std::uint32_t i = 0; i < instructions; ++i) {
    const KindCost& cost = cost_of(segment, i);
    if (cost.moves) add(once, cost.net, 1);
  }
  add(held_, once, runs);
}

void ProgramCost::add_up_until(const Moment& moment) {
  held_ = {};
  const auto hold_segments = [this](const Repeated& phase, std::size_t end,
                                    const Repetition& phases) {
    for (std::size_t s = phase.first; s < end; ++s) {
      const Repeated& segment = playback_->segments[s];
      hold(segment, segment.size, runs_of(phases, segment.repetition));
    }
  };
  const Repetition once;
  for (std::size_t p = 0; p < moment.phase; ++p) {
    const Repeated& phase = playback_->phases[p];
    hold_segments(phase, phase.first + phase.size, phase.repetition);
  }
  const Repeated& phase = playback_->phases[moment.phase];
  if (moment.last_of_phase)
    hold_segments(phase, phase.first + phase.size, without_last(phase.repetition));
  hold_segments(phase, moment.segment, once);
  const Repeated& segment = playback_->segments[moment.segment];
  if (moment.last_of_segment)
    hold(segment, segment.size, runs_of(once, without_last(segment.repetition)));
  const std::uint32_t highest = swings_[moment.segment].at;
  hold(segment, highest, runs_of(once, once));
  add(held_[0], cost_of(segment, highest).peak, 1);
}

}  // namespace meshplan::planner
