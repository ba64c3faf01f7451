#include "planner/cost/times.h"

#include <algorithm>
#include <optional>

namespace meshplan::planner {
namespace {

/// Repetitions played before a repeated part is taken to be steady.
constexpr std::int64_t kPlayed = 4;

/// When a collective ended, and on which axis.
struct End {
  double time = 0;
  std::optional<Axis> axis;
};

/// The end of the last collective of the instruction at a position of the unrolled program.
struct Record {
  std::int64_t position;
  End end;
};

struct Clock {
  std::array<double, kStreams> free{};
  double compute = 0;
  std::array<double, kAxes.size()> exposed{};

  double& operator[](Stream stream) { return free[static_cast<std::size_t>(stream)]; }
  double& exposed_on(Axis axis) { return exposed[static_cast<std::size_t>(axis)]; }
};

/// When the messages of a stage arrive, by microbatch, at its output's and its input's neighbour;
/// those not yet sent are beyond the end.
struct Sent {
  std::vector<double> activations;
  std::vector<double> gradients;
};

class TimePlayer {
 public:
  void play(const PricedProgram& program) {
    for (const PricedPhase& phase : program.phases) {
      repeat(phase.count, [&] {
        for (const PricedSegment& segment : phase.segments) {
          repeat(segment.count, [&] {
            for (const PricedInstruction& instruction : segment.instructions) play(instruction);
          });
        }
      });
    }
  }

  /// Plays on until a message is needed that has not been sent; true at the program's end.
  bool advance(const PricedProgram& program, const Sent* previous, const Sent* next) {
    for (; at_.phase < program.phases.size(); ++at_.phase, at_.repetition = 0) {
      const PricedPhase& phase = program.phases[at_.phase];
      for (; at_.repetition < phase.count; ++at_.repetition, at_.segment = 0) {
        for (; at_.segment < phase.segments.size(); ++at_.segment, at_.instruction = 0) {
          if (!advance(phase.segments[at_.segment], previous, next)) return false;
        }
      }
    }
    return true;
  }

  const Sent& sent() const { return sent_; }

  StepTimes times() const {
    StepTimes times{};
    times.step = common::Seconds(*std::max_element(clock_.free.begin(), clock_.free.end()));
    times.compute = common::Seconds(clock_.compute);
    for (std::size_t a = 0; a < kAxes.size(); ++a)
      times.exposed[a] = common::Seconds(clock_.exposed[a]);
    return times;
  }

 private:
  template <class Body>
  void repeat(std::int64_t count, const Body& body) {
    for (std::int64_t i = 0; i < std::min(count, kPlayed - 1); ++i) {
      if (count > kPlayed && i == kPlayed - 2) {
        const Clock before = clock_;
        const std::int64_t from = position_;
        body();
        skip(before, from, count - kPlayed);
      } else {
        body();
      }
    }
    if (count >= kPlayed) body();
  }

  /// Moves on by `times` repetitions that each take as long as the one played from `before` to now.
  void skip(const Clock& before, std::int64_t from, std::int64_t times) {
    const auto factor = static_cast<double>(times);
    const double shift = factor * (clock_[Stream::kCompute] - before.free[0]);
    const std::int64_t moved = times * (position_ - from);
    for (std::size_t s = 0; s < kStreams; ++s)
      clock_.free[s] += factor * (clock_.free[s] - before.free[s]);
    clock_.compute += factor * (clock_.compute - before.compute);
    for (std::size_t a = 0; a < kAxes.size(); ++a) {
      clock_.exposed[a] += factor * (clock_.exposed[a] - before.exposed[a]);
    }
    for (Record& record : records_) {
      if (record.position < from) continue;
      record.position += moved;
      record.end.time += shift;
    }
    position_ += moved;
  }

  /// A segment that transfers is not repeated.
  bool advance(const PricedSegment& segment, const Sent* previous, const Sent* next) {
    if (segment.count > 1) {
      repeat(segment.count, [&] {
        for (const PricedInstruction& instruction : segment.instructions) play(instruction);
      });
      return true;
    }
    for (; at_.instruction < segment.instructions.size(); ++at_.instruction) {
      const PricedInstruction& priced = segment.instructions[at_.instruction];
      if (priced.instruction.opcode == Opcode::kReceiveActivations &&
          !receive(priced.instruction, previous, next)) {
        return false;
      }
      play(priced);
      if (priced.instruction.opcode == Opcode::kSendActivations) {
        (at_input(priced.instruction) ? sent_.gradients : sent_.activations)
            .push_back(clock_[Stream::kPipeline]);
      }
    }
    return true;
  }

  static bool at_input(const Instruction& instruction) {
    return instruction.computation == Computation::kEmbedding;
  }

  /// Compute waits for the message, if it has been sent.
  bool receive(const Instruction& instruction, const Sent* previous, const Sent* next) {
    const std::vector<double>& messages =
        at_input(instruction) ? previous->activations : next->gradients;
    const auto microbatch = static_cast<std::size_t>(instruction.microbatch + at_.repetition);
    if (microbatch >= messages.size()) return false;
    wait({messages[microbatch], Axis::kPp});
    return true;
  }

  void play(const PricedInstruction& priced) {
    End ready;
    for (std::int64_t distance : priced.instruction.waits) {
      if (distance == 0) continue;
      const End end = end_of(position_ - distance);
      if (end.time >= ready.time) ready = end;
    }
    wait(ready);
    const InstructionCost& cost = *priced.cost;
    run(cost.before);
    if (cost.issued) {
      double& free = clock_[cost.issued->stream];
      free = std::max(free, clock_[Stream::kCompute]) + cost.issued->duration.value;
      const End end{free, cost.issued->axis};
      if (cost.issued->awaited) wait(end);
      remember(end);
      run(cost.after);
    }
    ++position_;
  }

  /// Compute stands still until `end`.
  void wait(const End& end) {
    double& compute = clock_[Stream::kCompute];
    if (end.time <= compute) return;
    if (end.axis) clock_.exposed_on(*end.axis) += end.time - compute;
    compute = end.time;
  }

  void run(const ComputeTime& time) {
    clock_[Stream::kCompute] += time.total.value;
    clock_.compute += time.kernels.value;
    for (std::size_t a = 0; a < kAxes.size(); ++a) clock_.exposed[a] += time.exposed[a].value;
  }

  void remember(const End& end) {
    records_.push_back({position_, end});
    if (records_.size() > 2 * kRemembered)
      records_.erase(records_.begin(), records_.end() - kRemembered);
  }

  /// Nothing to wait for where the instruction had no collective, or is long past.
  End end_of(std::int64_t position) const {
    const auto found =
        std::lower_bound(records_.begin(), records_.end(), position,
                         [](const Record& record, std::int64_t p) { return record.position < p; });
    return found != records_.end() && found->position == position ? found->end : End{};
  }

  static constexpr std::ptrdiff_t kRemembered = 512;

  struct Cursor {
    std::size_t phase = 0;
    std::int64_t repetition = 0;
    std::size_t segment = 0;
    std::size_t instruction = 0;
  };

  Clock clock_;
  Cursor at_;
  Sent sent_;
  std::int64_t position_ = 0;
  std::vector<Record> records_;
};

/// The mean distance of a stage's last messages but one, which follow each other as those of any
/// longer step.
std::optional<common::Seconds> cycle_of(const std::vector<double>& sent) {
  constexpr std::size_t kAveraged = 4;
  if (sent.size() < kAveraged + 3) return std::nullopt;
  const std::size_t last = sent.size() - 2;
  return common::Seconds((sent[last] - sent[last - kAveraged]) / kAveraged);
}

}  // namespace

StepTimes play_times(const PricedProgram& program) {
  TimePlayer player;
  player.play(program);
  return player.times();
}

PipelineTimes play_pipeline(const std::vector<PricedProgram>& stages) {
  std::vector<TimePlayer> players(stages.size());
  std::vector<bool> done(stages.size(), false);
  const auto advance = [&](std::size_t s) {
    const Sent* previous = s > 0 ? &players[s - 1].sent() : nullptr;
    const Sent* next = s + 1 < stages.size() ? &players[s + 1].sent() : nullptr;
    done[s] = players[s].advance(stages[s], previous, next);
  };
  // One round of messages at a time: there to the last stage, and back.
  while (!done.front()) {
    for (std::size_t s = 0; s < stages.size(); ++s) advance(s);
    for (std::size_t s = stages.size(); s-- > 0;) advance(s);
  }
  PipelineTimes times;
  for (const TimePlayer& player : players) {
    times.stages.push_back(player.times());
    times.step = std::max(times.step, times.stages.back().step);
  }
  if (stages.size() > 1) times.cycle = cycle_of(players.back().sent().gradients);
  return times;
}

}  // namespace meshplan::planner
