// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QString>
#include <memory>
#include <string>
#include <vector>

#include "gui/models/fields.h"
#include "planner/plan/plan.h"
#include "planner/search/space.h"

namespace meshplan::gui {

/// What the inputs ask the planner.
struct Problem {
  planner::ModelSpec model;
  /// Plan::model_source.
  std::string modelSource;
  planner::ClusterSpec cluster;
  planner::Job job;
  planner::SearchSpace space;
};

/// What is wrong with a field, in the planner's own words.
struct FieldError {
  Field field;
  QString message;
};

/// A problem, or everything that is wrong with the inputs.
struct Resolution {
  std::shared_ptr<const Problem> problem;
  std::vector<FieldError> errors;
};

/// Reads the files that the inputs name, so it belongs on a worker thread. Throws nothing.
Resolution resolve(const Inputs& inputs);

/// The inputs under which the plan in this file was made, as far as it tells; its own layout is
/// among those that are tried.
Inputs inputsOfPlan(const planner::Plan& plan, const QString& path);

}  // namespace meshplan::gui
