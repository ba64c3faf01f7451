#pragma once

#include <string>
#include <vector>

#include "planner/model/model_spec.h"

namespace meshplan::planner {

/// What of the model the step program has no operations for; empty: it can be planned, as are all
/// imported families.
std::vector<std::string> beyond_program(const ModelSpec& model);

/// Throws kInvalidInput (`executor_trains_family`) for a model that the executor has no layers for,
/// with what it lacks, and the families that it trains.
void require_trainable(const ModelSpec& model);

}  // namespace meshplan::planner
