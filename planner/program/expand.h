#pragma once

#include "planner/program/operation.h"
#include "planner/program/step_context.h"

namespace meshplan::planner {

/// The operations inside an instruction, in the order in which the executor issues them: every
/// kernel, collective, allocation and free on one rank. The executor's layers are written to this
/// list, and tests compare the two.
Operations expand(const StepContext& context, const Instruction& instruction);

/// Whether expand() gives the same operations for both: they differ in block, microbatch or waits
/// alone.
bool expand_alike(const StepContext& context, const Instruction& a, const Instruction& b);

/// Memory that is held all through the step.
struct PersistentMemory {
  /// Master slices of the parameters, and whole copies that are always there.
  common::Bytes parameters;
  /// AdamW's two moments.
  common::Bytes optimizer;
  /// Rotary tables, and a step's token ids and labels or rows.
  common::Bytes temporaries;
};
PersistentMemory persistent_memory(const StepContext& context);

/// What a rank with an offloaded optimizer keeps in its host's memory: masters, moments, the
/// gradients that it has copied down, and parameters to copy up where they are of another type.
common::Bytes host_memory(const StepContext& context);

}  // namespace meshplan::planner
