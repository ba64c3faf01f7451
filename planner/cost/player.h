#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "planner/cost/stream_clock.h"

namespace meshplan::planner {

/// Plays a program on the streams of one rank, all ranks being alike. Rank has a StreamClock and
/// what is counted beside it:
///
/// - `play(instruction)` runs an instruction of it, waits included.
/// - `wait_for_message(time)`: compute stands still until then.
/// - `mark(use)` and `is_steady_since(mark, use)` as StreamClock's; `skip(mark, repeated, times)`
///   likewise, and `end_unsteady(repeated)` where all of its repetitions were played.
/// - `clock()`.
template <class Rank>
class Player {
 public:
  using RankType = Rank;

  /// When a stage's messages arrive at its neighbours, by chunk and microbatch, as far as they have
  /// been sent.
  struct Sent {
    std::vector<std::vector<double>> activations;
    std::vector<std::vector<double>> gradients;
  };

  /// The rank's stage has so many chunks of blocks; none where it is not a pipeline's.
  Player(const Playback& playback, const Growth& growth, Rank rank, std::size_t chunks = 0)
      : playback_(&playback),
        growth_(growth),
        rank_(std::move(rank)),
        received_activations_(chunks),
        received_gradients_(chunks) {
    sent_.activations.resize(chunks);
    sent_.gradients.resize(chunks);
  }

  /// Repetitions are played until they are steady, then skipped.
  void play() {
    for (const Repeated& phase : playback_->phases) {
      repeat(phase, [&](std::uint32_t begin) {
        for (const Repeated& segment : playback_->segments_at(begin, phase)) play(segment);
      });
    }
  }

  /// Plays every microbatch, on until a message is needed that has not been sent, or others have
  /// not come to where they meet; true at the program's end.
  ///
  /// - `others.arrivals(instruction)` are those of the messages, by microbatch, that an instruction
  ///   receives one of.
  /// - `others.met(meeting)` is when the last stage came to it, once all have.
  template <class Others>
  bool advance(const Others& others) {
    for (; at_.phase < playback_->phases.size(); ++at_.phase, at_.repetition = 0) {
      const Repeated& phase = playback_->phases[at_.phase];
      const bool in_turn = (phase.repetition.varies & bit_of_run(kInTurn)) != 0;
      for (; at_.repetition < count_of(phase.repetition, growth_); ++at_.repetition) {
        const std::uint32_t begin = at_.repetition == 0 ? phase.first : phase.others;
        if (!advance(playback_->segments_at(begin, phase), others)) return false;
        if (in_turn) rounds_.push_back(after_round());
      }
    }
    return true;
  }

  const Rank& rank() const { return rank_; }
  const Sent& sent() const { return sent_; }
  /// When it came to the meeting, if it has.
  std::optional<double> came_to(Message meeting) const {
    return came_[meeting == Message::kMetByAll ? 0 : 1];
  }

  /// What a round of one forward and one backward pass leaves behind.
  struct Round {
    StreamClock::Mark clock;
    /// When it sent its activations, from where compute is.
    double sent = 0;
  };
  /// Of the rounds that are alike, all but the first two and the last.
  const std::vector<Round>& rounds() const { return rounds_; }

  /// The time between two rounds that leave the same behind; nothing where they do not.
  std::optional<double> period_between(const Round& earlier, const Round& later) const {
    const StreamClock& clock = rank_.clock();
    for (std::size_t i = 0; i < earlier.clock.lags.size(); ++i) {
      if (!clock.is_rounding(later.clock.lags[i] - earlier.clock.lags[i])) return std::nullopt;
    }
    if (!clock.is_rounding(later.sent - earlier.sent)) return std::nullopt;
    return later.clock.compute - earlier.clock.compute;
  }

 private:
  struct Cursor {
    std::size_t phase = 0;
    std::int64_t repetition = 0;
    std::size_t segment = 0;
    std::size_t instruction = 0;
  };

  template <class Body>
  void repeat(const Repeated& repeated, const Body& body) {
    const std::int64_t count = count_of(repeated.repetition, growth_);
    std::int64_t played = 0;
    if (count == 1 || !repeated.alike) {
      body(repeated.first);
      ++played;
    }
    while (played < count) {
      const typename Rank::Mark before = rank_.mark(repeated.use);
      body(repeated.others);
      ++played;
      if (rank_.is_steady_since(before, repeated.use))
        return rank_.skip(before, repeated, count - played);
    }
    rank_.end_unsteady(repeated);
  }

  void play(const Repeated& segment) {
    repeat(segment, [&](std::uint32_t begin) {
      for (const PlayedInstruction& instruction : playback_->instructions_at(begin, segment)) {
        if (!instruction.timeless) rank_.play(instruction);
      }
    });
  }

  Round after_round() const {
    const std::vector<double>& sent = sent_.activations.front();
    const StreamClock& clock = rank_.clock();
    return {.clock = clock.mark(kAllQueues),
            .sent = sent.empty() ? 0 : sent.back() - clock.compute()};
  }

  /// A segment in which stages have to do with one another is not repeated.
  template <class Others>
  bool advance(std::span<const Repeated> segments, const Others& others) {
    for (; at_.segment < segments.size(); ++at_.segment, at_.instruction = 0) {
      const Repeated& segment = segments[at_.segment];
      if (count_of(segment.repetition, growth_) > 1) {
        play(segment);
        continue;
      }
      const auto instructions = playback_->instructions_at(segment.first, segment);
      for (; at_.instruction < instructions.size(); ++at_.instruction) {
        const PlayedInstruction& instruction = instructions[at_.instruction];
        if (instruction.message == Message::kReceived && !receive(instruction, others))
          return false;
        if (is_meeting(instruction.message)) {
          if (!meet(instruction, others)) return false;
          continue;
        }
        rank_.play(instruction);
        if (instruction.message == Message::kSent) send(instruction);
      }
    }
    at_.segment = 0;
    return true;
  }

  /// Plays the instruction once, then compute waits for the last stage, if all have come.
  template <class Others>
  bool meet(const PlayedInstruction& instruction, const Others& others) {
    std::optional<double>& came = came_[instruction.message == Message::kMetByAll ? 0 : 1];
    if (!came) {
      rank_.play(instruction);
      came = rank_.clock().compute();
    }
    const std::optional<double> last = others.met(instruction.message);
    if (last) rank_.wait_for_message(*last);
    return last.has_value();
  }

  /// Compute waits for the message, if it has been sent. Each is for the chunk's next microbatch.
  template <class Others>
  bool receive(const PlayedInstruction& instruction, const Others& others) {
    const std::vector<double>& messages = others.arrivals(instruction);
    std::size_t& received =
        (instruction.at_input ? received_activations_ : received_gradients_)[instruction.chunk];
    if (received >= messages.size()) return false;
    rank_.wait_for_message(messages[received++]);
    return true;
  }

  void send(const PlayedInstruction& instruction) {
    (instruction.at_input ? sent_.gradients : sent_.activations)[instruction.chunk].push_back(
        rank_.clock().free(queue_of(Stream::kPipeline)));
  }

  const Playback* playback_;
  Growth growth_;
  Rank rank_;
  Cursor at_;
  std::vector<Round> rounds_;
  Sent sent_;
  /// All stages' meeting, and that of the first and the last; a step has each once.
  std::array<std::optional<double>, 2> came_;
  /// How many, by chunk.
  std::vector<std::size_t> received_activations_;
  std::vector<std::size_t> received_gradients_;
};

}  // namespace meshplan::planner
