#pragma once

#include "planner/search/interleaved_bound.h"

namespace meshplan::planner {

/// Whether the step has so few passes that they are played in a fraction of the time that pricing
/// it takes, and so few microbatches that its price is played to the end as well.
bool is_soon_played(const InterleavedStep& step);

/// Least time of the step before its update, as least_interleaved_time() but closer: plays every
/// pass of every stage, which begins when the one before it has ended, and its input has come.
double played_interleaved_time(const InterleavedStep& step);

}  // namespace meshplan::planner
