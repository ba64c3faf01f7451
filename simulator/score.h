#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "planner/cost/priced_program.h"
#include "planner/plan/plan.h"
#include "simulator/fabric/link_loads.h"
#include "simulator/scenario.h"

namespace meshplan::simulator {

/// Index of a beat in its score.
using BeatIndex = std::int32_t;
inline constexpr BeatIndex kNoBeat = -1;

/// No place to keep a collective's ends, and no message.
inline constexpr std::int32_t kNoSlot = -1;
inline constexpr std::int32_t kNoMessage = -1;

/// kKernels: kernels of one instruction between two of its collectives, one after the other.
/// kCollective: starts when its stream is free on all members and their compute has come to it.
/// kWait: compute stands still until collectives have ended. kReceive: until a message has come.
enum class BeatKind : std::uint8_t { kKernels, kCollective, kWait, kReceive };

/// Whom a collective waits for: the ranks of its axis; none, as a message goes out from its rank
/// alone; or ranks of other pipeline stages.
enum class Meeting : std::uint8_t { kGroup, kNobody, kStages };

/// What kernels or a collective take, or a collective takes from compute.
struct Span {
  /// Whatever links carry.
  Picoseconds fixed = 0;
  /// While bytes move and have the rank's links to themselves, and what of that the rank's adapters
  /// would take if nothing else held the bytes up.
  Picoseconds transfer = 0;
  Picoseconds adapters = 0;

  /// Where adapters take so many times as long, once or more.
  Picoseconds time(Millionths adapters_factor) const {
    return fixed + std::max(transfer, scaled(adapters, adapters_factor));
  }
  Picoseconds time() const { return fixed + transfer; }
};

/// What beats of one sort have in common.
struct Move {
  BeatKind kind = BeatKind::kKernels;
  /// Of a collective.
  planner::Stream stream = planner::Stream::kCompute;
  planner::Axis axis = planner::Axis::kTp;
  Meeting meeting = Meeting::kGroup;
  /// Of all kernels together, or of the collective.
  Span duration = {};
  Span taken = {};
  /// What the collective is to the rank's links.
  LinkLoads loads = {};
  /// Where in the operations of its instruction it begins, and ends.
  std::size_t first_operation = 0;
  std::size_t end_operation = 0;
};

/// One event of every rank of the stage.
struct Beat {
  std::uint32_t move = 0;
  std::int32_t instruction = 0;
  /// kWait: the collectives; kNoBeat for the second where there is one.
  std::array<BeatIndex, 2> awaited = {kNoBeat, kNoBeat};
  /// Where a collective's ends are kept for those that wait for it; kNoSlot where nothing does.
  std::int32_t slot = kNoSlot;
  /// How much longer the collective takes because others of its rank are on the same links.
  Picoseconds shared = 0;
  /// Of a message, sent or received: which, among all messages of the step.
  std::int32_t message = kNoMessage;
};

/// What the ranks of a pipeline stage do in a step, event by event.
struct Score {
  planner::PricedStage stage;
  /// Unrolled, with the unit and microbatch of each.
  std::vector<planner::Instruction> instructions;
  /// By instruction: its kind, an index into stage.program.kinds.
  std::vector<std::uint32_t> kinds;
  std::vector<Move> moves;
  std::vector<Beat> beats;
  std::size_t slots = 0;

  const Move& move_of(const Beat& beat) const { return moves[beat.move]; }
  const Move& move_at(BeatIndex beat) const {
    return moves[beats[static_cast<std::size_t>(beat)].move];
  }
  /// All operations of the instruction with that index, or of the beat's.
  const planner::PricedOperations& operations_of(std::size_t instruction) const {
    return stage.program.kinds[kinds[instruction]].operations;
  }
  const planner::PricedOperations& operations_of(const Beat& beat) const {
    return operations_of(static_cast<std::size_t>(beat.instruction));
  }
};

/// Scores of all stages, as the scenario has them. Requires a plan without violations and a valid
/// scenario. Throws kInvalidInput when the program has more than 10 million operations.
std::vector<Score> write_scores(const planner::Plan& plan, const Scenario& scenario);

/// Throws kInvalidInput when the step's times, so many times as long, may not fit Picoseconds.
void require_countable(const std::vector<Score>& scores, Millionths longest_factor);

/// Messages of a step: a number above those of all beats.
std::size_t message_count(const planner::Layout& layout);

}  // namespace meshplan::simulator
