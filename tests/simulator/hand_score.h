#pragma once

#include "simulator/score.h"

namespace meshplan::simulator {

/// A score by hand; durations in picoseconds.
class HandScore {
 public:
  BeatIndex kernels(Picoseconds duration) {
    return add({.kind = BeatKind::kKernels, .duration = {.fixed = duration}});
  }
  /// All of `transfer` over adapters. With loads that says nothing of who shares them.
  BeatIndex collective(planner::Stream stream, planner::Axis axis, Picoseconds fixed,
                       Picoseconds transfer = 0, const LinkLoads& loads = {}) {
    return add({.kind = BeatKind::kCollective,
                .stream = stream,
                .axis = axis,
                .duration = {.fixed = fixed, .transfer = transfer, .adapters = transfer},
                .loads = loads});
  }
  /// A collective of dp_shard that fills the adapters.
  BeatIndex over_adapters(planner::Stream stream, Picoseconds transfer) {
    return collective(stream, planner::Axis::kDpShard, 0, transfer, adapters());
  }
  void wait(BeatIndex collective) {
    add({.kind = BeatKind::kWait});
    Beat& awaited = score.beats[static_cast<std::size_t>(collective)];
    if (awaited.slot == kNoSlot) awaited.slot = static_cast<std::int32_t>(score.slots++);
    score.beats.back().awaited[0] = collective;
  }
  BeatIndex send(std::int32_t message, Picoseconds fixed, Picoseconds transfer = 0) {
    const BeatIndex beat =
        add({.kind = BeatKind::kCollective,
             .stream = planner::Stream::kPipeline,
             .axis = planner::Axis::kPp,
             .meeting = Meeting::kNobody,
             .duration = {.fixed = fixed, .transfer = transfer, .adapters = transfer},
             .loads = transfer > 0 ? adapters() : LinkLoads{}},
            planner::Opcode::kSendActivations);
    score.beats.back().message = message;
    return beat;
  }
  void receive(std::int32_t message) {
    add({.kind = BeatKind::kReceive, .axis = planner::Axis::kPp},
        planner::Opcode::kReceiveActivations);
    score.beats.back().message = message;
  }
  void meet_stages(Picoseconds duration) {
    add({.kind = BeatKind::kCollective,
         .stream = planner::Stream::kCompute,
         .axis = planner::Axis::kPp,
         .meeting = Meeting::kStages,
         .duration = {.fixed = duration}},
        planner::Opcode::kGradientNorm);
  }

  Score score;

 private:
  static LinkLoads adapters() {
    LinkLoads loads;
    loads.parts[static_cast<std::size_t>(LinkTier::kAdapters)] = 1;
    loads.rate = 1;
    return loads;
  }

  BeatIndex add(const Move& move, planner::Opcode opcode = planner::Opcode::kForward) {
    score.moves.push_back(move);
    score.instructions.push_back({.opcode = opcode});
    score.beats.push_back({.move = static_cast<std::uint32_t>(score.moves.size() - 1),
                           .instruction = static_cast<std::int32_t>(score.beats.size())});
    return static_cast<BeatIndex>(score.beats.size() - 1);
  }
};

}  // namespace meshplan::simulator
