#include "planner/cost/priced_program.h"

#include <utility>

namespace meshplan::planner {
namespace {

PricedInstruction price_instruction(const StepContext& context, const ClusterSpec& cluster,
                                    const Instruction& instruction) {
  PricedInstruction priced{instruction, {}};
  for (const Operation& operation : expand(context, instruction)) {
    priced.operations.push_back(
        {operation, price(cluster, context.layout.mesh, context.job.param_dtype, operation)});
  }
  return priced;
}

}  // namespace

PricedProgram price_program(const StepContext& context, const ClusterSpec& cluster, const StepProgram& program) {
  PricedProgram priced{{}, cluster.device.kind == DeviceKind::kCpu};
  for (const Phase& phase : program.phases) {
    PricedPhase priced_phase{phase.count, {}};
    for (const Segment& segment : phase.segments) {
      PricedSegment priced_segment{segment.count, segment.unit_stride, {}};
      for (const Instruction& instruction : segment.instructions) {
        priced_segment.instructions.push_back(price_instruction(context, cluster, instruction));
      }
      priced_phase.segments.push_back(std::move(priced_segment));
    }
    priced.phases.push_back(std::move(priced_phase));
  }
  return priced;
}

}  // namespace meshplan::planner
