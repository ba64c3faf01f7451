#include "planner/cost/priced_program.h"

namespace meshplan::planner {

PricedInstruction price_instruction(const StepContext& context, const ClusterSpec& cluster,
                                    const Instruction& instruction) {
  const DeviceMesh& mesh = context.layout.mesh;
  PricedInstruction priced;
  for (const Operation& operation : expand(context, instruction)) {
    priced.operations.push_back(
        {operation, price(cluster, mesh, context.job.param_dtype, operation)});
  }
  priced.cost = add_up(mesh, priced.operations);
  return priced;
}

PricedProgram price_program(const StepContext& context, const ClusterSpec& cluster,
                            const StepProgram& program) {
  PricedProgram priced{shape_of(context, program), {}};
  for (const Instruction& kind : priced.shape.kinds)
    priced.kinds.push_back(price_instruction(context, cluster, kind));
  return priced;
}

}  // namespace meshplan::planner
