#pragma once

#include <string>

#include "planner/explain/sweep.h"

namespace meshplan::cli {

/// A row for each point, and below it why nothing fits where that is so.
std::string sweep_table(const planner::Sweep& sweep);

/// The same for programs: a header, then a row for each point, figures in plain units; fields that
/// a point does not have are empty (RFC 4180).
std::string sweep_csv(const planner::Sweep& sweep);

}  // namespace meshplan::cli
