#pragma once

#include "executor/kernels/rope.h"
#include "executor/kernels/vocabulary.h"
#include "executor/layers/decoder_block.h"
#include "executor/model/model_computations.h"

namespace meshplan::executor {

/// A decoder-only transformer: embedding, blocks, and the head with the cross-entropy.
class DecoderComputations : public ModelComputations {
 public:
  explicit DecoderComputations(const ComputationRank& rank);

  void forward(const planner::Instruction& instruction, const Batch& batch) override;
  void backward(const planner::Instruction& instruction, const Batch& batch) override;
  double loss(const planner::Instruction& instruction, const Batch& batch, double scale) override;
  double loss_weight(const Batch& batch, std::int64_t tokens) const override;
  double evaluate(const Batch& batch) override;

 private:
  ShardedUnit& unit_of(const planner::Instruction& instruction) const {
    return rank_.units[static_cast<std::size_t>(instruction.unit)];
  }
  BlockSaved& saved_of(const planner::Instruction& instruction);
  void backward_of_embedding(ShardedUnit& unit, const Batch& batch);

  ComputationRank rank_;
  RopeTable rope_;
  BlockContext block_context_;
  VocabularySlice vocabulary_;
  /// Activations between blocks, and their gradient on the way back.
  at::Tensor activations_;
  at::Tensor gradient_;
  std::vector<BlockSaved> saved_;
};

}  // namespace meshplan::executor
