#pragma once

#include "executor/model/model_computations.h"

namespace meshplan::executor {

/// The feed-forward demo (planner/model/feed_forward_model.h): a batch's loss is the sum of all its
/// outputs, and the step's loss the mean of these over microbatches and data-parallel ranks, as
/// PyTorch's data parallelism has it.
class FeedForwardComputations : public ModelComputations {
 public:
  explicit FeedForwardComputations(const ComputationRank& rank);

  void forward(const planner::Instruction& instruction, const Batch& batch) override;
  void backward(const planner::Instruction& instruction, const Batch& batch) override;
  double loss(const planner::Instruction& instruction, const Batch& batch, double scale) override;
  double loss_weight(const Batch& batch, std::int64_t tokens) const override;
  double evaluate(const Batch& batch) override;

 private:
  ShardedUnit& unit(std::int64_t index) const {
    return rank_.units[static_cast<std::size_t>(index)];
  }
  /// The unit's weight, when it has been gathered.
  at::Tensor weight(std::int64_t index) const;
  /// The unit's gradient, newly made.
  at::Tensor gradient(std::int64_t index) const;

  ComputationRank rank_;
  TensorParallel tp_;
  /// Outputs of w1 and w3; from the loss on, their gradients.
  at::Tensor gate_up_;
};

}  // namespace meshplan::executor
