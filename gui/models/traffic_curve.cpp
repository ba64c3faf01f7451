// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/traffic_curve.h"

#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "planner/search/search.h"

namespace meshplan::gui {
namespace {

using planner::Axis;

constexpr std::int64_t kShortest = 256;
constexpr std::int64_t kLongest = 1 << 19;

double wire(const planner::Estimate& estimate, Axis axis) {
  return static_cast<double>(estimate.traffic[static_cast<std::size_t>(axis)].wire_bytes.value);
}

std::optional<TrafficPoint> pointAt(const Problem& problem, planner::Layout layout,
                                    std::int64_t sequence) {
  planner::Job job = problem.job;
  job.seq_length = sequence;
  layout.loss_chunks = 1;
  if (!planner::violations(problem.model, problem.cluster, job, layout).empty())
    return std::nullopt;
  layout.loss_chunks = planner::default_loss_chunks(problem.model, job, layout);
  const planner::Estimate at = planner::estimate(problem.model, problem.cluster, job, layout);
  const planner::FirstOrderVolumes& volumes = at.first_order;
  return TrafficPoint{.sequence = static_cast<double>(sequence),
                      .tpWire = wire(at, Axis::kTp),
                      .dpWire = wire(at, Axis::kDpShard),
                      .firstOrderTp = static_cast<double>(volumes.tp_activations.value),
                      .firstOrderFsdp = static_cast<double>(volumes.fsdp_parameters.value)};
}

}  // namespace

std::vector<TrafficPoint> trafficOver(const Problem& asked, const planner::Layout& layout,
                                      const Stop& stop) {
  std::vector<TrafficPoint> points;
  Problem problem = asked;
  if (problem.model.positions != planner::Positions::kLearned)
    problem.model.max_position_embeddings =
        std::max(problem.model.max_position_embeddings, kLongest);
  const auto add = [&](std::int64_t sequence) {
    stop.check();
    try {
      if (const auto point = pointAt(problem, layout, sequence)) points.push_back(*point);
    } catch (const common::Error&) {
      // Sizes too large to be counted have no place on the curve.
    }
  };
  const std::int64_t own = problem.job.seq_length;
  bool hasOwn = false;
  for (std::int64_t sequence = kShortest; sequence <= kLongest; sequence *= 2) {
    if (!hasOwn && sequence >= own) {
      hasOwn = true;
      if (sequence != own) add(own);
    }
    add(sequence);
  }
  if (!hasOwn) add(own);
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
    return TrafficPoint{.sequence = between(a.sequence, b.sequence),
                        .tpWire = bytes,
                        .dpWire = bytes,
                        .firstOrderTp = between(a.firstOrderTp, b.firstOrderTp),
                        .firstOrderFsdp = between(a.firstOrderFsdp, b.firstOrderFsdp)};
  }
  return std::nullopt;
}

}  // namespace meshplan::gui
