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

std::vector<PricedStage> price_stages(const ModelSpec& model, const ClusterSpec& cluster,
                                      const Job& job, const Layout& layout) {
  std::vector<PricedStage> stages;
  for (std::int64_t stage = 0; stage < layout.mesh.sizes[Axis::kPp]; ++stage) {
    const StepContext context = make_step_context(model, job, layout, cluster.device.kind, stage);
    stages.push_back(
        {context, price_program(context, cluster, build_program(model, job, layout, stage))});
  }
  return stages;
}

}  // namespace meshplan::planner
