#pragma once

#include <cstddef>
#include <vector>

#include "planner/search/search.h"

namespace meshplan::planner {

/// The candidates that no other beats in time per token without needing more device memory: as
/// indices into `candidates`, fastest first, each needing less memory than the one before. Of equal
/// ones, the first.
std::vector<std::size_t> pareto_frontier(const std::vector<Candidate>& candidates);

}  // namespace meshplan::planner
