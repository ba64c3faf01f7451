#pragma once

#include <vector>

#include "planner/cost/instruction_cost.h"
#include "planner/cost/program_shape.h"

namespace meshplan::planner {

/// The operations inside an instruction with what each costs, and all of them together.
struct PricedInstruction {
  PricedOperations operations;
  InstructionCost cost;
};

PricedInstruction price_instruction(const StepContext& context, const ClusterSpec& cluster,
                                    const Instruction& instruction);

/// A step program with every kind of instruction priced: what memory, traffic and time are read
/// off.
struct PricedProgram {
  ProgramShape shape;
  /// By kind.
  std::vector<PricedInstruction> kinds;
};

PricedProgram price_program(const StepContext& context, const ClusterSpec& cluster,
                            const StepProgram& program);

/// What the ranks of one pipeline stage do.
struct PricedStage {
  StepContext context;
  PricedProgram program;
};

/// All stages of a layout, in the order of the pp axis. Requires a layout without violations.
std::vector<PricedStage> price_stages(const ModelSpec& model, const ClusterSpec& cluster,
                                      const Job& job, const Layout& layout);

}  // namespace meshplan::planner
