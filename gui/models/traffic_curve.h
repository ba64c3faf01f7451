// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <optional>
#include <vector>

#include "gui/models/newest_work.h"
#include "gui/models/problem.h"

namespace meshplan::gui {

/// What a rank sends in a step at one length of the sequence, in wire bytes; and the two
/// first-order volumes, which count one forward pass and one gather.
struct TrafficPoint {
  double sequence = 0;
  double tpWire = 0;
  double dpWire = 0;
  double firstOrderTp = 0;
  double firstOrderFsdp = 0;
};

/// The layout at the lengths that it keeps its rules at, ascending, the job's own among them: also
/// at those that the model was not made for, where its positions have no parameters. Throws
/// Stopped.
std::vector<TrafficPoint> trafficOver(const Problem& problem, const planner::Layout& layout,
                                      const Stop& stop);

/// Where tp begins to send more than dp_shard, between points by ratio.
std::optional<TrafficPoint> crossingOf(const std::vector<TrafficPoint>& points);

}  // namespace meshplan::gui
