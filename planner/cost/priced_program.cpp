#include "planner/cost/priced_program.h"

#include <algorithm>

namespace meshplan::planner {

PricedInstruction price_instruction(const StepContext& context, const ClusterSpec& cluster,
                                    const Instruction& instruction) {
  const DeviceMesh& mesh = context.layout.mesh;
  PricedInstruction priced;
  const Operations operations = expand(context, instruction);
  priced.operations.reserve(operations.size());
  for (const Operation& operation : operations) {
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

namespace {

/// Whether the two stages' blocks and neighbours are alike, so that instructions that are cost the
/// same.
bool are_alike(const StepContext& a, const StepContext& b) {
  return a.stage.blocks == b.stage.blocks && a.stage.is_first() == b.stage.is_first() &&
         a.stage.is_last() == b.stage.is_last() && first_other_block(a.model) == 0;
}

/// As price_program(), with what an alike stage's kinds cost.
PricedProgram price_program(const StepContext& context, const ClusterSpec& cluster,
                            const StepProgram& program, const PricedStage& alike) {
  PricedProgram priced{shape_of(context, program), {}};
  const std::vector<Instruction>& known = alike.program.shape.kinds;
  for (const Instruction& kind : priced.shape.kinds) {
    const auto same = std::find_if(known.begin(), known.end(), [&](const Instruction& other) {
      return other.chunk == kind.chunk && expand_alike(context, kind, other);
    });
    priced.kinds.push_back(
        same == known.end() ? price_instruction(context, cluster, kind)
                            : alike.program.kinds[static_cast<std::size_t>(same - known.begin())]);
  }
  return priced;
}

}  // namespace

std::vector<PricedStage> price_stages(const ModelSpec& model, const ClusterSpec& cluster,
                                      const Job& job, const Layout& layout) {
  std::vector<PricedStage> stages;
  stages.reserve(static_cast<std::size_t>(layout.mesh.sizes[Axis::kPp]));
  for (std::int64_t stage = 0; stage < layout.mesh.sizes[Axis::kPp]; ++stage) {
    const StepContext context = make_step_context(model, job, layout, cluster.device.kind, stage);
    const StepProgram program = build_program(model, job, layout, stage);
    const bool knows = !stages.empty() && are_alike(stages.back().context, context);
    stages.push_back({context, knows ? price_program(context, cluster, program, stages.back())
                                     : price_program(context, cluster, program)});
  }
  return stages;
}

}  // namespace meshplan::planner
