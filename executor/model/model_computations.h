#pragma once

#include <memory>
#include <vector>

#include "executor/data/batches.h"
#include "executor/layers/tensor_parallel.h"
#include "executor/sharding/sharded_unit.h"
#include "planner/program/step_context.h"
#include "planner/program/step_program.h"

namespace meshplan::executor {

/// What a model's computations need of their rank; all of it outlives them.
struct ComputationRank {
  const planner::StepContext& context;
  const UnitSharding& sharding;
  std::vector<ShardedUnit>& units;
  Communicator& tp;
  std::int64_t tp_rank = 0;
  at::Device device = at::kCPU;
};

/// The forward, backward and loss instructions of a model on one rank, and the activations that lie
/// between them. Each waits for its unit's parameters where it reads them, and makes its gradient
/// where it writes it.
class ModelComputations {
 public:
  virtual ~ModelComputations() = default;

  virtual void forward(const planner::Instruction& instruction, const Batch& batch) = 0;
  virtual void backward(const planner::Instruction& instruction, const Batch& batch) = 0;
  /// The sum of the microbatch's losses, of which it has label_count; the gradient is that of
  /// `scale` times the sum.
  virtual double loss(const planner::Instruction& instruction, const Batch& batch,
                      double scale) = 0;
  /// The factor of such a sum in the step's loss. `tokens` is what count_tokens has counted.
  virtual double loss_weight(const Batch& batch, std::int64_t tokens) const = 0;

  /// The sum of the batch's losses, forward only and outside of any step: units are gathered and
  /// released one by one.
  virtual double evaluate(const Batch& batch) = 0;
};

/// Those of the context's model.
std::unique_ptr<ModelComputations> make_computations(const ComputationRank& rank);

}  // namespace meshplan::executor
