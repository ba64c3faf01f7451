#pragma once

#include <vector>

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

/// Stages of which one needs as much memory as any. Of those that treat as many blocks alike, that
/// is the first with enough microbatches for all gradients and their buffers to be there while most
/// activations are. Where blocks differ it may be any stage; and where stages are interleaved, as
/// each begins its backward passes at another place of the round.
std::vector<Stage> stages_that_peak(const ModelSpec& model, const Layout& layout);

}  // namespace meshplan::planner
