#include "planner/explain/step_shares.h"

#include <algorithm>

#include "planner/cost/priced_program.h"

namespace meshplan::planner {
namespace {

using common::Seconds;

Seconds& at(StepShares& shares, StepPart part) { return shares[static_cast<std::size_t>(part)]; }

bool is_update(Opcode opcode) {
  return opcode == Opcode::kGradientNorm || opcode == Opcode::kClipGradients ||
         opcode == Opcode::kOptimizerStep;
}

/// Of one stage.
struct KernelTime {
  Seconds all;
  Seconds launch;
  Seconds optimizer;
};

void add(KernelTime& time, const PricedInstruction& priced, Opcode opcode, double repeats,
         Seconds launch_overhead) {
  const Seconds kernels = repeats * (priced.cost.before.kernels + priced.cost.after.kernels);
  time.all += kernels;
  if (is_update(opcode)) {
    time.optimizer += kernels;
    return;
  }
  const auto launches = std::count_if(
      priced.operations.begin(), priced.operations.end(),
      [](const auto& priced_one) { return priced_one.operation.kind == OperationKind::kKernel; });
  time.launch += repeats * static_cast<double>(launches) * launch_overhead;
}

KernelTime kernel_time(const PricedProgram& program, Seconds launch_overhead) {
  KernelTime time;
  for (const ShapedPhase& phase : program.shape.phases) {
    for (const ShapedSegment& segment : phase.segments) {
      const auto repeats = static_cast<double>(phase.repetition.count * segment.repetition.count);
      for (const ShapedInstruction& shaped : segment.instructions)
        add(time, program.kinds[shaped.kind], shaped.instruction.opcode, repeats, launch_overhead);
    }
  }
  return time;
}

KernelTime longest_stage(const std::vector<PricedStage>& stages, Seconds launch_overhead) {
  KernelTime longest;
  for (const PricedStage& stage : stages) {
    const KernelTime time = kernel_time(stage.program, launch_overhead);
    if (time.all >= longest.all) longest = time;
  }
  return longest;
}

}  // namespace

const char* to_string(StepPart part) {
  constexpr std::array kNames = {
      "compute",    "launch", "optimizer", "tp_exposed", "dp_shard_exposed", "dp_replicate_exposed",
      "cp_exposed", "bubble"};
  static_assert(kNames.size() == kStepParts);
  return kNames[static_cast<std::size_t>(part)];
}

const char* description_of(StepPart part) {
  constexpr std::array kNames = {
      "compute",        "launching kernels",       "the optimizer",
      "waiting for tp", "waiting for dp_shard",    "waiting for dp_replicate",
      "waiting for cp", "waiting for other stages"};
  static_assert(kNames.size() == kStepParts);
  return kNames[static_cast<std::size_t>(part)];
}

StepShares shares_of(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                     const Candidate& candidate) {
  const Estimate& estimate = candidate.estimate;
  const KernelTime kernels = longest_stage(price_stages(model, cluster, job, candidate.layout),
                                           cluster.device.launch_overhead);
  StepShares shares{};
  at(shares, StepPart::kLaunch) = kernels.launch;
  at(shares, StepPart::kOptimizer) = kernels.optimizer;
  at(shares, StepPart::kCompute) =
      std::max(Seconds{}, estimate.compute_time - kernels.launch - kernels.optimizer);
  const auto exposed = [&](Axis axis) {
    return estimate.traffic[static_cast<std::size_t>(axis)].exposed;
  };
  at(shares, StepPart::kTp) = exposed(Axis::kTp);
  at(shares, StepPart::kDpShard) = exposed(Axis::kDpShard);
  at(shares, StepPart::kDpReplicate) = exposed(Axis::kDpReplicate);
  at(shares, StepPart::kCp) = exposed(Axis::kCp);
  Seconds rest = estimate.step_time;
  for (const Seconds& share : shares) rest -= share;
  // With a pipeline all that is left is waiting; without one, rounding, which compute takes.
  const bool stages = candidate.layout.mesh.sizes[Axis::kPp] > 1;
  at(shares, stages ? StepPart::kBubble : StepPart::kCompute) += rest;
  return shares;
}

Seconds exposed_time(const Estimate& estimate) {
  Seconds exposed;
  for (const AxisTraffic& axis : estimate.traffic) exposed += axis.exposed;
  return exposed;
}

StepPart largest(const StepShares& shares) {
  return static_cast<StepPart>(std::max_element(shares.begin(), shares.end()) - shares.begin());
}

}  // namespace meshplan::planner
