// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/traffic_curve.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "common/error.h"
#include "planner/search/search.h"

namespace meshplan::gui {
namespace {

using planner::Axis;

/// Both curves are straight lines where both axes are logarithmic, or nearly so.
constexpr std::int64_t kFactor = 4;
struct Reach {
  std::int64_t first;
  std::int64_t last;
};
constexpr std::array<Reach, kTrafficAxes> kReaches = {{{256, 1 << 18}, {1, 1024}}};
constexpr std::int64_t kLongest = kReaches[0].last;

double wire(const planner::Estimate& estimate, Axis axis) {
  return static_cast<double>(estimate.traffic[static_cast<std::size_t>(axis)].wire_bytes.value);
}

std::optional<TrafficPoint> pointAt(TrafficAxis axis, const Problem& problem,
                                    planner::Layout layout, std::int64_t place) {
  planner::Job job = problem.job;
  (axis == TrafficAxis::kSequence ? job.seq_length : layout.microbatch_size) = place;
  layout.loss_chunks = 1;
  if (!planner::violations(problem.model, problem.cluster, job, layout).empty())
    return std::nullopt;
  layout.loss_chunks = planner::default_loss_chunks(problem.model, job, layout);
  const planner::Estimate at = planner::estimate(problem.model, problem.cluster, job, layout);
  const planner::FirstOrderVolumes& volumes = at.first_order;
  return TrafficPoint{.place = static_cast<double>(place),
                      .tpWire = wire(at, Axis::kTp),
                      .dpWire = wire(at, Axis::kDpShard),
                      .firstOrderTp = static_cast<double>(volumes.tp_activations.value),
                      .firstOrderFsdp = static_cast<double>(volumes.fsdp_parameters.value)};
}

}  // namespace

std::int64_t ownPlace(const Problem& problem, const planner::Layout& layout, TrafficAxis axis) {
  return axis == TrafficAxis::kSequence ? problem.job.seq_length : layout.microbatch_size;
}

std::vector<TrafficPoint> trafficOver(TrafficAxis axis, const Problem& asked,
                                      const planner::Layout& layout, const Stop& stop) {
  Problem problem = asked;
  if (problem.model.positions != planner::Positions::kLearned)
    problem.model.max_position_embeddings =
        std::max(problem.model.max_position_embeddings, kLongest);
  const Reach reach = kReaches[static_cast<std::size_t>(axis)];
  std::set<std::int64_t> places = {ownPlace(problem, layout, axis)};
  for (std::int64_t place = reach.first; place <= reach.last; place *= kFactor)
    places.insert(place);
  std::vector<TrafficPoint> points;
  for (const std::int64_t place : places) {
    stop.check();
    try {
      if (const auto point = pointAt(axis, problem, layout, place)) points.push_back(*point);
    } catch (const common::Error&) {
      // Sizes too large to be counted have no place on the curve.
    }
  }
  return points;
}

std::optional<TrafficPoint> crossingOf(const std::vector<TrafficPoint>& points) {
  for (std::size_t i = 1; i < points.size(); ++i) {
    const TrafficPoint& a = points[i - 1];
    const TrafficPoint& b = points[i];
    const bool counted = a.tpWire > 0 && a.dpWire > 0 && b.tpWire > 0 && b.dpWire > 0;
    if (!counted || a.tpWire > a.dpWire || b.tpWire <= b.dpWire) continue;
    const double below = std::log(a.dpWire / a.tpWire);
    const double above = std::log(b.tpWire / b.dpWire);
    const double part = below / (below + above);
    const auto between = [part](double from, double to) {
      return from * std::pow(to / from, part);
    };
    const double bytes = between(a.dpWire, b.dpWire);
    return TrafficPoint{.place = between(a.place, b.place),
                        .tpWire = bytes,
                        .dpWire = bytes,
                        .firstOrderTp = between(a.firstOrderTp, b.firstOrderTp),
                        .firstOrderFsdp = between(a.firstOrderFsdp, b.firstOrderFsdp)};
  }
  return std::nullopt;
}

}  // namespace meshplan::gui
