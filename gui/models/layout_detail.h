// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QString>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gui/models/layout_set.h"
#include "gui/models/newest_work.h"
#include "gui/models/timeline_tracks.h"
#include "gui/models/traffic_curve.h"
#include "planner/explain/step_shares.h"
#include "simulator/simulate.h"

namespace meshplan::gui {

/// A layout's exact estimate, with a name for it.
struct NamedEstimate {
  QString name;
  planner::Candidate candidate;
};

/// All that is told of one layout, worked out beside the window.
struct LayoutDetail {
  std::shared_ptr<const Problem> problem;
  planner::Candidate candidate;
  planner::StepShares shares{};
  /// The layout, and those that differ from it in one choice.
  std::vector<NamedEstimate> neighbours;
  /// Of the layout or, where it lacks tp or shards, of the fastest that has both; of the layout all
  /// the same where there is none.
  planner::Layout trafficLayout;
  /// By TrafficAxis.
  std::array<std::vector<TrafficPoint>, kTrafficAxes> traffic;
  /// Nothing where it cannot be played; then `simulationFailure` says why. Its timelines are in
  /// `timeline` alone.
  std::optional<simulator::SimulatedStep> step;
  Timeline timeline;
  QString simulationFailure;
  /// Why the best layout is the best, where it is this one.
  QString explanation;
  std::optional<planner::Candidate> compared;

  planner::Plan plan() const;
};

/// Throws Stopped.
LayoutDetail detailOf(const LayoutSet& set, std::size_t layout, std::size_t compared,
                      const Stop& stop);

}  // namespace meshplan::gui
