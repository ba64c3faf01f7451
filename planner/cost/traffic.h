#pragma once

#include <array>

#include "common/units.h"
#include "planner/cost/priced_program.h"

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

/// Sums the program's collectives; `exposed` is left 0 for the estimate to fill.
Traffic count_traffic(const DeviceMesh& mesh, const PricedProgram& program);

}  // namespace meshplan::planner
