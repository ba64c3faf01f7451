#include "executor/model/feed_forward_computations.h"

#include "executor/layers/demo_linears.h"
#include "executor/model/weight_views.h"
#include "planner/model/feed_forward_model.h"

namespace meshplan::executor {

using planner::kDownUnit;
using planner::kGateUnit;
using planner::kUpUnit;

FeedForwardComputations::FeedForwardComputations(const ComputationRank& rank)
    : rank_(rank), tp_{rank.tp, /*sequence_parallel=*/false} {}

at::Tensor FeedForwardComputations::weight(std::int64_t index) const {
  rank_.sharding.wait_gathered(unit(index));
  return only_weight(unit(index).flat, unit(index).gathered);
}

at::Tensor FeedForwardComputations::gradient(std::int64_t index) const {
  rank_.sharding.make_gradient(unit(index));
  return only_weight(unit(index).flat, unit(index).gradient);
}

void FeedForwardComputations::forward(const planner::Instruction& instruction, const Batch& batch) {
  if (instruction.unit == kGateUnit) {
    gate_up_ = project_gate(batch.rows, weight(kGateUnit));
  } else {
    project_up(batch.rows, weight(kUpUnit), gate_up_);
  }
}

double FeedForwardComputations::loss(const planner::Instruction&, const Batch&, double scale) {
  return sum_outputs(gate_up_, weight(kDownUnit), {.w2 = gradient(kDownUnit), .scale = scale}, tp_);
}

void FeedForwardComputations::backward(const planner::Instruction& instruction,
                                       const Batch& batch) {
  if (instruction.unit == kUpUnit) {
    backward_up(batch.rows, gate_up_, gradient(kUpUnit));
  } else {
    backward_gate(batch.rows, gate_up_, gradient(kGateUnit));
    gate_up_.reset();
  }
}

double FeedForwardComputations::loss_weight(const Batch&, std::int64_t) const {
  const planner::Layout& layout = rank_.context.layout;
  return 1.0 / static_cast<double>(layout.accumulation * planner::data_parallel_size(layout.mesh));
}

double FeedForwardComputations::evaluate(const Batch& batch) {
  const auto with_weight = [this](std::int64_t index, const auto& compute) {
    rank_.sharding.gather(unit(index));
    compute(weight(index));
    rank_.sharding.release(unit(index));
  };
  at::Tensor gate_up;
  double sum = 0;
  with_weight(kGateUnit, [&](const at::Tensor& w1) { gate_up = project_gate(batch.rows, w1); });
  with_weight(kUpUnit, [&](const at::Tensor& w3) { project_up(batch.rows, w3, gate_up); });
  with_weight(kDownUnit, [&](const at::Tensor& w2) { sum = sum_outputs(gate_up, w2, {}, tp_); });
  return sum;
}

}  // namespace meshplan::executor
