#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "planner/cost/program_shape.h"

namespace meshplan::planner {

/// Streams whose collectives go on beside the instructions after their own: gather, reduce,
/// replicate and pipeline.
inline constexpr std::size_t kQueues = 4;
using Queue = std::uint8_t;
inline constexpr Queue kNoQueue = 255;
/// kNoQueue for the others.
Queue queue_of(Stream stream);

/// Where the ends of the last few collectives of all queues are kept, the last one's first: a unit
/// is waited for when as many more have been gathered as may be ahead of it.
inline constexpr std::size_t kRememberedEnds = kMaxPrefetchDepth + 1;
using EndIndex = std::uint8_t;
inline constexpr EndIndex kNoEnd = 255;
constexpr EndIndex end_index(Queue queue, std::size_t age) {
  return static_cast<EndIndex>(queue * kRememberedEnds + age);
}

/// What stages have to do with one another in an instruction: at the end of some, those that have
/// it wait for the last of them, which are all stages, or the first and the last.
enum class Message : std::uint8_t { kNone, kSent, kReceived, kMetByAll, kMetByEnds };
constexpr bool is_meeting(Message message) {
  return message == Message::kMetByAll || message == Message::kMetByEnds;
}

/// An instruction as far as time is concerned.
struct PlayedInstruction {
  std::uint16_t kind = 0;
  /// Of the collective that it issues.
  Queue queue = kNoQueue;
  /// What compute waits for before it; those first that are there.
  std::array<EndIndex, 2> waits = {kNoEnd, kNoEnd};
  Message message = Message::kNone;
  /// Whether the message crosses the stage's input; otherwise its output.
  bool at_input = false;
  /// Of the message: the stage's chunk that sends or receives.
  std::uint8_t chunk = 0;
  /// It takes no time, whatever the layout.
  bool timeless = false;

  bool operator==(const PlayedInstruction&) const = default;
};

/// Queues by their bit.
using QueueSet = std::uint8_t;

/// The queues that instructions issue collectives on, and those that they wait for.
struct QueueUse {
  QueueSet issued = 0;
  QueueSet awaited = 0;
  /// Queues with more than one collective.
  QueueSet several = 0;

  bool operator==(const QueueUse&) const = default;
};
inline constexpr QueueUse kAllQueues{.awaited = (1 << kQueues) - 1};

/// Instructions or segments that are repeated. The first repetition may wait for what went before,
/// all others for the same collectives of theirs and of the one before them.
struct Repeated {
  Repetition repetition;
  QueueUse use;
  /// Whether the first is like the others.
  bool alike = true;
  /// Of segments; else of instructions.
  bool is_phase = false;
  /// Where in their list those of the first repetition begin, those of the others, and how many
  /// there are in each.
  std::uint32_t first = 0;
  std::uint32_t others = 0;
  std::uint32_t size = 0;

  bool operator==(const Repeated&) const = default;
};

/// A program whose waits are told by the collectives that were issued in between, so that it can be
/// played at any length.
struct Playback {
  /// Of segments.
  std::vector<Repeated> phases;
  /// Of instructions.
  std::vector<Repeated> segments;
  std::vector<PlayedInstruction> instructions;

  std::span<const Repeated> segments_at(std::uint32_t begin, const Repeated& phase) const {
    return {segments.data() + begin, phase.size};
  }
  std::span<const PlayedInstruction> instructions_at(std::uint32_t begin,
                                                     const Repeated& segment) const {
    return {instructions.data() + begin, segment.size};
  }
};

/// Throws kInternal when a wait reaches further back than ends are remembered, or into the middle
/// of repetitions.
Playback playback_of(const ProgramShape& shape);

}  // namespace meshplan::planner
