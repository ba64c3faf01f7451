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

/// Indexed by Axis.
using Traffic = std::array<AxisTraffic, kAxes.size()>;

/// Adds `times` what `more` has, but for what is exposed.
void add(Traffic& traffic, const Traffic& more, std::int64_t times);

}  // namespace meshplan::planner
