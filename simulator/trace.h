#pragma once

#include "formats/chrome_trace.h"
#include "planner/model/model_spec.h"
#include "simulator/simulate.h"

namespace meshplan::simulator {

/// The step as a trace of rank `rank`: a track for each stream, a counter for each class of memory.
formats::Trace to_trace(const SimulatedStep& step, const planner::ModelSpec& model,
                        std::int64_t rank);

}  // namespace meshplan::simulator
