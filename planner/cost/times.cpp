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

  void play(const PricedInstruction& priced) {
    End ready;
    for (std::int64_t distance : priced.instruction.waits) {
      if (distance == 0) continue;
      const End end = end_of(position_ - distance);
      if (end.time >= ready.time) ready = end;
    }
    wait(ready);
    const PricedOperations& operations = *priced.operations;
    End last;
    ends_.assign(operations.size(), End{});
    for (std::size_t i = 0; i < operations.size(); ++i) {
      const auto& [operation, price] = operations[i];
      switch (operation.kind) {
        case OperationKind::kKernel:
          clock_[Stream::kCompute] += price.duration.value;
          clock_.compute += price.duration.value;
          break;
        case OperationKind::kCollective:
          ends_[i] = run(operation, price);
          if (ends_[i].time >= last.time) last = ends_[i];
          break;
        case OperationKind::kWait:
          wait(ends_[static_cast<std::size_t>(operation.awaited)]);
          break;
        case OperationKind::kAllocate:
        case OperationKind::kFree:
          break;
      }
    }
    if (last.axis) remember(last);
    ++position_;
  }

  /// Compute stands still until `end`.
  void wait(const End& end) {
    double& compute = clock_[Stream::kCompute];
    if (end.time <= compute) return;
    if (end.axis) clock_.exposed_on(*end.axis) += end.time - compute;
    compute = end.time;
  }

  End run(const Operation& operation, const Price& price) {
    double& compute = clock_[Stream::kCompute];
    double& exposed = clock_.exposed_on(operation.axis);
    double& free = clock_[operation.stream];
    free = std::max(free, compute) + price.duration.value;
    if (operation.stream == Stream::kCompute) {
      exposed += price.duration.value;
    } else {
      compute += price.taken_from_compute.value;
      exposed += price.taken_from_compute.value;
    }
    return {free, operation.axis};
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

  Clock clock_;
  std::int64_t position_ = 0;
  std::vector<Record> records_;
  std::vector<End> ends_;
};

}  // namespace

StepTimes play_times(const PricedProgram& program) {
  TimePlayer player;
  player.play(program);
  return player.times();
}

}  // namespace meshplan::planner
