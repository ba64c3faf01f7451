#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "planner/cost/instruction_cost.h"
#include "planner/program/expand.h"
#include "planner/program/step_program.h"

namespace meshplan::planner {

/// An instruction with the operations inside it, what each costs, and all of them together.
struct PricedInstruction {
  Instruction instruction;
  /// Shared by instructions that expand alike; never null.
  std::shared_ptr<const PricedOperations> operations;
  std::shared_ptr<const InstructionCost> cost;
  /// The same for a model of one block more; null where that is the same.
  std::shared_ptr<const InstructionCost> cost_of_longer;
};

/// What the number of repetitions grows with, between programs that differ in nothing else: the
/// blocks of a region, or the microbatches.
inline constexpr int kConstant = -1;
inline constexpr int kMicrobatches = -2;

struct Repetition {
  std::int64_t count = 1;
  /// kConstant, kMicrobatches or the index of a region.
  int varies = kConstant;
};

struct PricedSegment {
  std::int64_t count = 1;
  int varies = kConstant;
  std::int64_t unit_stride = 0;
  std::vector<PricedInstruction> instructions;
};

struct PricedPhase {
  std::int64_t count = 1;
  int varies = kConstant;
  std::vector<PricedSegment> segments;
};

/// A step program, run-length encoded as it was, with every operation priced: what memory, traffic
/// and time are read off.
struct PricedProgram {
  std::vector<PricedPhase> phases;
};

PricedProgram price_program(const StepContext& context, const ClusterSpec& cluster,
                            const StepProgram& program);

}  // namespace meshplan::planner
