#pragma once

#include <vector>

#include "benchmarks/fit_runtimes/fitted_model.h"
#include "planner/validate/measured_run.h"

namespace meshplan::benchmarks {

/// A measured run with its weight in the fit of each quantity.
struct WeighedRun {
  planner::MeasuredRun measured;
  double time_weight = 0;
  double memory_weight = 0;
};

/// A published collective: its time is fitted beside those of steps.
struct MeasuredCollective {
  planner::Hardware hardware;
  planner::CollectiveKind kind;
  common::Bytes bytes;
  planner::GroupShape group;
  common::Seconds time;
};

/// What a fit sees.
struct Measurements {
  std::vector<WeighedRun> runs;
  std::vector<MeasuredCollective> collectives;
};

/// Finds the constants of the quantity that minimise the sum of log(1 + (e / 3 %)^2) over the runs,
/// e the logarithmic error, and of the squared deviations from the priors; starts from the values
/// that the model has. A run that ran and whose memory is not published is off by what is predicted
/// above 97 % of its GPU's memory. `evaluations` bounds how often the runs are priced.
void fit(FittedModel& model, Quantity quantity, Measurements measurements, int evaluations);

}  // namespace meshplan::benchmarks
