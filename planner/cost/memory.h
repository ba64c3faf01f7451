#pragma once

#include "planner/cost/priced_program.h"

namespace meshplan::planner {

/// What the step holds from its start to its end.
MemoryBreakdown persistent_breakdown(const StepContext& context);

/// The composition of the allocated memory at the moment of its peak over the step, and the
/// instruction of that moment.
struct MemoryPeak {
  MemoryBreakdown breakdown;
  Instruction instruction;
};

/// Plays the allocations and frees of the program, repeated segments by their first and last
/// repetition: between them memory changes by the same amount each time.
MemoryPeak memory_peak(const StepContext& context, const PricedProgram& program);

}  // namespace meshplan::planner
