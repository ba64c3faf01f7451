#pragma once

#include <string>
#include <vector>

#include "common/json.h"
#include "simulator/engine.h"

namespace meshplan::simulator {

/// What time on the critical path is spent on. kLaunch: what kernels cost before they do anything.
/// kCollective: a collective that something waits for. kTaken: compute that runs slower beside one.
enum class PathKind { kMatmul, kAttention, kElementwise, kHost, kLaunch, kCollective, kTaken };
/// "matmul", "attention", "elementwise", "host", "launch", "collective" or "taken".
const char* to_string(PathKind kind);

/// Time of one kind in one sort of instruction.
struct PathPart {
  PathKind kind = PathKind::kMatmul;
  /// Of the collective, where it is one or taken by one.
  planner::Axis axis = planner::Axis::kTp;
  planner::CollectiveKind collective = planner::CollectiveKind::kAllReduce;
  planner::Opcode opcode = planner::Opcode::kForward;
  planner::Computation computation = planner::Computation::kNone;
  Picoseconds time = 0;
};

/// A part of the path that stays on one stream of one rank.
struct PathStretch {
  Place place;
  planner::Stream stream = planner::Stream::kCompute;
  Picoseconds start = 0;
  Picoseconds end = 0;
};

/// The chain of events, each begun by the end of the one before it, from the start of the step to
/// its end: the step gets shorter only where one of these does.
struct CriticalPath {
  /// Longest first; they add up to the step's time.
  std::vector<PathPart> parts;
  /// In the order of time; each begins where the one before it ends.
  std::vector<PathStretch> stretches;
  /// How often it goes from one rank on to another.
  std::int64_t handovers = 0;
};

/// Requires that the engine has played the scores, and that its causes were remembered.
/// `launch_overhead` is the cluster's.
CriticalPath critical_path(const std::vector<Score>& scores, const Engine& engine,
                           Picoseconds launch_overhead);

/// "61 % of the step is matrix multiply, most of it in blocks' backward": a sentence for each kind
/// that takes half a per cent or more, longest first.
std::vector<std::string> in_words(const CriticalPath& path);

/// {"by_kind": {...}, "parts": [...], "handovers", "text"}: seconds, and shares of the step.
common::Json to_json(const CriticalPath& path);

}  // namespace meshplan::simulator
