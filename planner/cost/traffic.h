#pragma once

#include <array>

#include "common/units.h"
#include "planner/layout/device_mesh.h"

namespace meshplan::planner {

/// What a rank communicates over one axis in a step.
struct AxisTraffic {
  /// Tensor bytes by the design's convention (see Operation::bytes).
  common::Bytes bytes;
  /// What a ring sends for them.
  common::Bytes wire_bytes;
  std::int64_t operations = 0;
  /// Time in collectives, and the part of it during which compute stood still or was taken from.
  common::Seconds time;
  common::Seconds exposed;
};

/// The order in which axes are shown to users.
inline constexpr std::array kShownAxes = {Axis::kTp, Axis::kDpShard, Axis::kDpReplicate, Axis::kCp,
                                          Axis::kPp, Axis::kEp,      Axis::kExpertShard};

/// Indexed by Axis.
using Traffic = std::array<AxisTraffic, kAxes.size()>;

/// Adds `times` what `more` has, but for what is exposed.
void add(Traffic& traffic, const Traffic& more, std::int64_t times);

}  // namespace meshplan::planner
