#pragma once

#include "formats/chrome_trace.h"
#include "planner/model/model_spec.h"
#include "simulator/simulate.h"

namespace meshplan::simulator {

/// The step's timelines as a trace: of each rank a track for each stream, and a counter for each
/// class of memory.
formats::Trace to_trace(const SimulatedStep& step, const planner::ModelSpec& model);

}  // namespace meshplan::simulator
