// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <optional>
#include <vector>

#include "gui/models/newest_work.h"
#include "gui/models/problem.h"

namespace meshplan::gui {

/// What traffic is drawn over: the tokens of a sequence, or the sequences of a microbatch, at the
/// layout's accumulation, so that the global batch grows with them.
enum class TrafficAxis { kSequence, kMicrobatch };
inline constexpr std::size_t kTrafficAxes = 2;

/// What a rank sends in a step at one place of the axis, in wire bytes; and the two first-order
/// volumes, which count one forward pass and one gather.
struct TrafficPoint {
  double place = 0;
  double tpWire = 0;
  double dpWire = 0;
  double firstOrderTp = 0;
  double firstOrderFsdp = 0;
};

/// Where the job and the layout stand.
std::int64_t ownPlace(const Problem& problem, const planner::Layout& layout, TrafficAxis axis);

/// The layout where it keeps its rules, ascending, its own place among the points: also at
/// sequences that the model was not made for, where its positions have no parameters. Throws
/// Stopped.
std::vector<TrafficPoint> trafficOver(TrafficAxis axis, const Problem& problem,
                                      const planner::Layout& layout, const Stop& stop);

/// Where tp begins to send more than dp_shard, between points by ratio.
std::optional<TrafficPoint> crossingOf(const std::vector<TrafficPoint>& points);

}  // namespace meshplan::gui
