#pragma once

#include <cstdint>
#include <vector>

#include "planner/cost/growth.h"
#include "planner/program/expand.h"
#include "planner/program/step_program.h"

namespace meshplan::planner {

struct ShapedInstruction {
  Instruction instruction;
  /// Index of its kind.
  std::size_t kind;
};

struct ShapedSegment {
  Repetition repetition;
  std::int64_t unit_stride = 0;
  std::vector<ShapedInstruction> instructions;
};

struct ShapedPhase {
  Repetition repetition;
  std::int64_t microbatch_stride = 1;
  std::vector<ShapedSegment> segments;
};

/// A step program, run-length encoded as it was, with its instructions sorted into kinds: those of
/// a kind expand alike. A program of many microbatches and blocks has a few dozen.
struct ProgramShape {
  std::vector<ShapedPhase> phases;
  /// An instruction of each kind.
  std::vector<Instruction> kinds;
  /// By kind: whether it issues a collective that goes on beside the instructions after it.
  std::vector<bool> issues;
};

/// The index of the phase that the first run of microbatches begins with.
std::size_t first_run(const Job& job);

ProgramShape shape_of(const StepContext& context, const StepProgram& program);

}  // namespace meshplan::planner
