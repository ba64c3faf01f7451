#pragma once

#include <cstdint>
#include <vector>

#include "planner/program/expand.h"
#include "planner/program/step_program.h"

namespace meshplan::planner {

/// What a number of repetitions grows with, between programs that differ in nothing else: the
/// blocks of a region (its index), or the microbatches.
inline constexpr int kConstant = -1;
inline constexpr int kMicrobatches = -2;

struct Repetition {
  std::int64_t count = 1;
  /// kConstant, kMicrobatches or the index of a region.
  int varies = kConstant;
};

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
};

ProgramShape shape_of(const StepContext& context, const StepProgram& program);

}  // namespace meshplan::planner
