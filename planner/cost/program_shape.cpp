#include "planner/cost/program_shape.h"

#include <algorithm>

namespace meshplan::planner {
namespace {

std::size_t kind_of(const StepContext& context, std::vector<Instruction>& kinds,
                    const Instruction& instruction) {
  const auto found = std::find_if(kinds.begin(), kinds.end(), [&](const Instruction& kind) {
    return expand_alike(context, kind, instruction);
  });
  const auto index = static_cast<std::size_t>(found - kinds.begin());
  if (found == kinds.end()) kinds.push_back(instruction);
  return index;
}

}  // namespace

std::size_t first_run(const Job& job) {
  return job.loss_normalization == LossNormalization::kGlobalTokens ? 1 : 0;
}

ProgramShape shape_of(const StepContext& context, const StepProgram& program) {
  ProgramShape shape;
  for (const Phase& phase : program.phases) {
    ShapedPhase& shaped = shape.phases.emplace_back();
    shaped.repetition.count = phase.count;
    shaped.microbatch_stride = phase.microbatch_stride;
    for (const Segment& segment : phase.segments) {
      ShapedSegment& shaped_segment = shaped.segments.emplace_back();
      shaped_segment.repetition.count = segment.count;
      shaped_segment.unit_stride = segment.unit_stride;
      for (const Instruction& instruction : segment.instructions) {
        shaped_segment.instructions.push_back(
            {instruction, kind_of(context, shape.kinds, instruction)});
      }
    }
  }
  for (const Instruction& kind : shape.kinds) {
    // Others wait for what they issue themselves.
    if (!goes_on(kind.stream)) {
      shape.issues.push_back(false);
      continue;
    }
    const Operations operations = expand(context, kind);
    shape.issues.push_back(
        std::any_of(operations.begin(), operations.end(), [](const Operation& operation) {
          return operation.kind == OperationKind::kCollective && goes_on(operation.stream);
        }));
  }
  return shape;
}

}  // namespace meshplan::planner
