#include "planner/cost/program_cost.h"

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
                .memory = {.net_total = cost.net_total.value, .peak_total = cost.peak_total.value}};
  if (cost.issued) {
    kind.time.awaited = cost.issued->awaited;
    kind.time.duration = cost.issued->duration.value;
    kind.time.taken = cost.issued->taken.value;
  }
  for (std::size_t c = 0; c < kMemoryClasses; ++c) {
    kind.memory.net[c] = cost.net[c].value;
    kind.memory.peak[c] = cost.peak[c].value;
  }
  for (std::size_t a = 0; a < kAxes.size(); ++a) {
    const AxisTraffic& axis = cost.traffic[a];
    kind.traffic[a] = {axis.bytes.value, axis.wire_bytes.value, axis.operations};
    kind.communicates = kind.communicates || axis.operations > 0;
  }
  return kind;
}

void ProgramCost::set(const Playback& playback, std::span<const KindCost* const> kinds) {
  playback_ = &playback;
  kinds_.assign(kinds.begin(), kinds.end());
  times_.clear();
  for (const KindCost* kind : kinds) times_.push_back(kind->time);
  swings_.assign(playback.segments.size(), {});
  traffic_ = {};
  moment_.reset();
  for (const Repeated& phase : playback.phases) {
    for (std::uint32_t s = phase.first; s < phase.first + phase.size; ++s)
      swings_[s] = add_up(phase, playback.segments[s]);
  }
}

ProgramCost::Swing ProgramCost::add_up(const Repeated& phase, const Repeated& segment) {
  Swing swing;
  const Terms runs = runs_of(phase.repetition, segment.repetition);
  for (std::uint32_t i = 0; i < segment.size; ++i) {
    const KindCost& kind = cost_of(segment, i);
    if (swing.net + kind.memory.peak_total > swing.peak) {
      swing.peak = swing.net + kind.memory.peak_total;
      swing.at = i;
    }
    swing.net += kind.memory.net_total;
    if (kind.communicates) add(traffic_, kind.traffic, runs);
  }
  return swing;
}

double ProgramCost::step_time(const Growth& growth) const {
  TimedPlayer timed = player(growth);
  timed.play();
  return timed.rank().clock().end();
}

TrafficCounts ProgramCost::traffic(const Growth& growth) const { return at(traffic_, growth); }

ByteCounts ProgramCost::peak_memory(const Growth& growth) {
  const Moment moment = highest_moment(growth);
  if (moment_ != moment) add_up_until(moment);
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
  return highest;
}

void ProgramCost::hold(const Repeated& segment, std::uint32_t instructions, const Terms& runs) {
  for (std::uint32_t i = 0; i < instructions; ++i) add(held_, cost_of(segment, i).memory.net, runs);
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
  add(held_[0], cost_of(segment, highest).memory.peak, 1);
}

}  // namespace meshplan::planner
