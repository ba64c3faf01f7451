#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "planner/cost/form.h"
#include "planner/cost/program_shape.h"

namespace meshplan::planner {

/// Plays a program on the streams of one rank, all ranks being alike. A Clock holds the time of
/// each stream in numbers of its own, Clock::Time.
///
/// - `play(kind)` runs an instruction of it, and returns the end of the collective that goes on.
/// - `wait(end)`: compute stands still until then.
/// - `later(a, b)` is the end that is waited for when both are.
/// - `skip(before, repetition)` goes on by repetitions that each take what went by since `before`.
template <class Clock>
class TimePlayer {
 public:
  using Time = typename Clock::Time;
  using End = typename Clock::End;

  /// When a stage's messages arrive at its neighbours, by chunk and microbatch, as far as they have
  /// been sent.
  struct Sent {
    std::vector<std::vector<Time>> activations;
    std::vector<std::vector<Time>> gradients;
  };

  /// Repetitions of a segment that are played; in the third it is taken to be steady.
  static constexpr std::int64_t kPlayed = 4;

  /// The program's repetitions are more by what `longer` has; its stage has so many chunks.
  explicit TimePlayer(Clock clock, const Variation& longer = {}, std::size_t chunks = 1)
      : clock_(std::move(clock)), longer_(longer) {
    sent_.activations.resize(chunks);
    sent_.gradients.resize(chunks);
  }

  /// Long repetitions are played until they are steady, then skipped.
  void play(const ProgramShape& program) {
    for (const ShapedPhase& phase : program.phases) {
      // Microbatches that are alike follow two that are nearly so, and are steady from the first.
      repeat(phase.repetition, 1, [&] {
        for (const ShapedSegment& segment : phase.segments) play(segment);
      });
    }
  }

  /// Plays every microbatch, on until a message is needed that has not been sent; true at the
  /// program's end. `arrivals(receive)` are those of the messages, by microbatch, that an
  /// instruction receives one of.
  template <class Arrivals>
  bool advance(const ProgramShape& program, const Arrivals& arrivals) {
    for (; at_.phase < program.phases.size(); ++at_.phase, at_.repetition = 0) {
      const ShapedPhase& phase = program.phases[at_.phase];
      for (; at_.repetition < phase.repetition.count; ++at_.repetition, at_.segment = 0) {
        for (; at_.segment < phase.segments.size(); ++at_.segment, at_.instruction = 0) {
          if (!advance(phase.segments[at_.segment], phase.microbatch_stride, arrivals))
            return false;
        }
      }
    }
    return true;
  }

  const Clock& clock() const { return clock_; }
  const Sent& sent() const { return sent_; }

 private:
  static constexpr std::ptrdiff_t kRemembered = 512;

  /// The end of the collective of the instruction at a position of the unrolled program.
  struct Record {
    std::int64_t position;
    End end;
  };

  struct Cursor {
    std::size_t phase = 0;
    std::int64_t repetition = 0;
    std::size_t segment = 0;
    std::size_t instruction = 0;
  };

  /// Plays so many repetitions, and takes those between to last as long as the last but one of
  /// them, or the only one.
  template <class Body>
  void repeat(const Repetition& repetition, std::int64_t played, const Body& body) {
    const std::int64_t measured = std::max<std::int64_t>(0, played - 2);
    const bool skips = repetition.count > played || repetition.varies != kConstant;
    for (std::int64_t i = 0; i < std::min(repetition.count, played); ++i) {
      if (!skips || i != measured) {
        body();
        continue;
      }
      const Clock before = clock_;
      const std::int64_t from = position_;
      body();
      skip(before, from, {repetition.count - played, repetition.varies});
    }
  }

  /// Moves on by repetitions that each take as long as the one played from `before` to now.
  /// Positions stay those of the program as it is, which its waits count in.
  void skip(const Clock& before, std::int64_t from, const Repetition& skipped) {
    const Time begin = clock_[Stream::kCompute];
    clock_.skip(before, {skipped.count + more(skipped.varies), skipped.varies});
    const Time shift = clock_[Stream::kCompute] - begin;
    const std::int64_t moved = skipped.count * (position_ - from);
    for (Record& record : records_) {
      if (record.position < from) continue;
      record.position += moved;
      record.end.time += shift;
    }
    position_ += moved;
  }

  std::int64_t more(int varies) const {
    if (varies == kConstant) return 0;
    return varies == kMicrobatches ? longer_.microbatches
                                   : longer_.blocks[static_cast<std::size_t>(varies)];
  }

  void play(const ShapedSegment& segment) {
    repeat(segment.repetition, kPlayed, [&] {
      for (const ShapedInstruction& instruction : segment.instructions) play(instruction);
    });
  }

  /// A segment that transfers is not repeated.
  template <class Arrivals>
  bool advance(const ShapedSegment& segment, std::int64_t microbatch_stride,
               const Arrivals& arrivals) {
    if (segment.repetition.count > 1) return play(segment), true;
    for (; at_.instruction < segment.instructions.size(); ++at_.instruction) {
      const ShapedInstruction& instruction = segment.instructions[at_.instruction];
      if (instruction.instruction.opcode == Opcode::kReceiveActivations &&
          !receive(instruction.instruction, microbatch_stride, arrivals)) {
        return false;
      }
      play(instruction);
      if (instruction.instruction.opcode == Opcode::kSendActivations) {
        auto& sent = at_input(instruction.instruction) ? sent_.gradients : sent_.activations;
        sent[static_cast<std::size_t>(instruction.instruction.chunk)].push_back(
            clock_[Stream::kPipeline]);
      }
    }
    return true;
  }

  static bool at_input(const Instruction& instruction) {
    return instruction.computation == Computation::kEmbedding;
  }

  /// Compute waits for the message, if it has been sent.
  template <class Arrivals>
  bool receive(const Instruction& instruction, std::int64_t microbatch_stride,
               const Arrivals& arrivals) {
    const std::vector<Time>& messages = arrivals(instruction);
    const auto microbatch =
        static_cast<std::size_t>(instruction.microbatch + at_.repetition * microbatch_stride);
    if (microbatch >= messages.size()) return false;
    clock_.wait({messages[microbatch], Axis::kPp});
    return true;
  }

  void play(const ShapedInstruction& shaped) {
    std::optional<End> ready;
    for (std::int64_t distance : shaped.instruction.waits) {
      if (distance == 0) continue;
      const End* end = end_of(position_ - distance);
      if (end != nullptr) ready = ready ? clock_.later(*ready, *end) : *end;
    }
    if (ready) clock_.wait(*ready);
    if (const std::optional<End> issued = clock_.play(shaped.kind)) remember(*issued);
    ++position_;
  }

  void remember(const End& end) {
    records_.push_back({position_, end});
    if (records_.size() > 2 * kRemembered)
      records_.erase(records_.begin(), records_.end() - kRemembered);
  }

  /// Nothing where the instruction had no collective, or is long past: what is waited for was
  /// issued not long ago.
  const End* end_of(std::int64_t position) const {
    for (auto record = records_.rbegin(); record != records_.rend(); ++record) {
      if (record->position <= position)
        return record->position == position ? &record->end : nullptr;
    }
    return nullptr;
  }

  Clock clock_;
  Variation longer_;
  Cursor at_;
  Sent sent_;
  std::int64_t position_ = 0;
  std::vector<Record> records_;
};

}  // namespace meshplan::planner
