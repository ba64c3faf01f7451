#pragma once

#include <string>

#include "planner/validate/measured_collectives.h"

namespace meshplan::cli {

/// Errors by collective and size, and by GPU, link and collective.
std::string collectives_tables(const planner::CollectiveSummary& summary);

}  // namespace meshplan::cli
