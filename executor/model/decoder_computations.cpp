#include "executor/model/decoder_computations.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "executor/layers/embedding.h"
#include "executor/layers/head_loss.h"
#include "executor/model/weight_views.h"

namespace meshplan::executor {
namespace {

using planner::Computation;
using planner::Instruction;

constexpr planner::Recompute kKeepNothing{.qkv = true, .attention = true, .gate_up = true};

VocabularySlice vocabulary_slice(const planner::StepContext& context, std::int64_t tp_rank) {
  const std::int64_t start = tp_rank * context.vocab_rows;
  return {
      .start = start,
      .rows = std::clamp<std::int64_t>(context.model.vocab_size - start, 0, context.vocab_rows)};
}

}  // namespace

DecoderComputations::DecoderComputations(const ComputationRank& rank)
    : rank_(rank),
      rope_(make_rope_table(rank.context.model.rope, rank.context.model.head_dim,
                            rank.context.job.seq_length, at::kFloat, rank.device)),
      block_context_{
          rank.context.model.rms_norm_eps, rope_, {rank.tp, rank.context.layout.sequence_parallel}},
      vocabulary_(vocabulary_slice(rank.context, rank.tp_rank)),
      saved_(static_cast<std::size_t>(rank.context.model.num_hidden_layers)) {}

BlockSaved& DecoderComputations::saved_of(const Instruction& instruction) {
  const planner::Unit unit = planner::unit_at(rank_.context.model, instruction.unit);
  return saved_[static_cast<std::size_t>(unit.block)];
}

double DecoderComputations::loss_weight(const Batch& batch, std::int64_t tokens) const {
  const planner::StepContext& context = rank_.context;
  if (context.job.loss_normalization == planner::LossNormalization::kGlobalTokens)
    return 1.0 / static_cast<double>(std::max<std::int64_t>(1, tokens));
  const std::int64_t shares =
      context.layout.accumulation * planner::data_parallel_size(context.layout.mesh);
  return 1.0 / static_cast<double>(std::max<std::int64_t>(1, batch.label_count) * shares);
}

void DecoderComputations::forward(const Instruction& instruction, const Batch& batch) {
  ShardedUnit& unit = unit_of(instruction);
  rank_.sharding.wait_gathered(unit);
  if (instruction.computation == Computation::kEmbedding) {
    activations_ = forward_embedding(embedding_weight(unit.flat, unit.gathered), vocabulary_,
                                     batch.tokens.view(-1), block_context_.tp);
  } else {
    activations_ =
        forward_block(block_weights(unit.flat, unit.gathered), block_context_,
                      instruction.recompute, std::move(activations_), saved_of(instruction));
  }
}

double DecoderComputations::loss(const Instruction& instruction, const Batch& batch, double scale) {
  ShardedUnit& unit = unit_of(instruction);
  rank_.sharding.wait_gathered(unit);
  rank_.sharding.make_gradient(unit);
  const HeadLossOptions options{.rms_norm_eps = rank_.context.model.rms_norm_eps,
                                .slice = vocabulary_,
                                .chunks = rank_.context.layout.loss_chunks,
                                .scale = scale,
                                .with_gradient = true};
  HeadLoss head =
      head_loss(head_weights(unit.flat, unit.gathered), head_weights(unit.flat, unit.gradient),
                options, std::move(activations_), batch.labels.view(-1), block_context_.tp);
  gradient_ = std::move(head.grad);
  return head.loss_sum;
}

void DecoderComputations::backward(const Instruction& instruction, const Batch& batch) {
  ShardedUnit& unit = unit_of(instruction);
  if (instruction.computation == Computation::kEmbedding) return backward_of_embedding(unit, batch);
  rank_.sharding.wait_gathered(unit);
  rank_.sharding.make_gradient(unit);
  gradient_ = backward_block(block_weights(unit.flat, unit.gathered),
                             block_weights(unit.flat, unit.gradient), block_context_,
                             std::exchange(saved_of(instruction), {}), std::move(gradient_));
}

void DecoderComputations::backward_of_embedding(ShardedUnit& unit, const Batch& batch) {
  const bool tied = rank_.context.model.tie_word_embeddings;
  if (!tied) rank_.sharding.make_gradient(unit);
  const at::Tensor weight_gradient = embedding_weight(unit.flat, unit.gradient);
  if (!tied) weight_gradient.zero_();
  backward_embedding(gradient_, vocabulary_, batch.tokens.view(-1), block_context_.tp,
                     weight_gradient);
  gradient_.reset();
}

double DecoderComputations::evaluate(const Batch& batch) {
  const planner::ModelSpec& model = rank_.context.model;
  const auto unit_with_parameters = [this](std::int64_t index) -> ShardedUnit& {
    ShardedUnit& unit = rank_.units[static_cast<std::size_t>(index)];
    rank_.sharding.gather(unit);
    rank_.sharding.wait_gathered(unit);
    return unit;
  };
  ShardedUnit& embedding = unit_with_parameters(planner::embedding_unit(model));
  at::Tensor activations = forward_embedding(embedding_weight(embedding.flat, embedding.gathered),
                                             vocabulary_, batch.tokens.view(-1), block_context_.tp);
  rank_.sharding.release(embedding);
  for (std::int64_t block = 0; block < model.num_hidden_layers; ++block) {
    ShardedUnit& unit = unit_with_parameters(planner::block_unit(model, block));
    BlockSaved unused;
    activations = forward_block(block_weights(unit.flat, unit.gathered), block_context_,
                                kKeepNothing, std::move(activations), unused);
    rank_.sharding.release(unit);
  }
  ShardedUnit& head = unit_with_parameters(planner::head_unit(model));
  const HeadLoss result =
      head_loss(head_weights(head.flat, head.gathered), {},
                {.rms_norm_eps = model.rms_norm_eps,
                 .slice = vocabulary_,
                 .chunks = rank_.context.layout.loss_chunks,
                 .with_gradient = false},
                std::move(activations), batch.labels.view(-1), block_context_.tp);
  rank_.sharding.release(head);
  return result.loss_sum;
}

}  // namespace meshplan::executor
