#include "executor/layers/embedding.h"
#include "executor/layers/head_loss.h"
#include "executor/model/weight_views.h"
#include "executor/run/step_runner.h"

namespace meshplan::executor {
namespace {

constexpr planner::Recompute kKeepNothing{.qkv = true, .attention = true, .gate_up = true};

}  // namespace

double StepRunner::evaluate(std::int64_t count,
                            const std::function<Batch(std::int64_t)>& batch_at) {
  const CollectiveLog::Pause pause(communicators_.log());
  double loss = 0;
  std::int64_t labels = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const Batch batch = batch_at(i);
    loss += forward_loss(batch);
    labels += batch.label_count;
  }
  loss = sum_over({planner::Axis::kDpShard, planner::Axis::kDpReplicate}, loss);
  labels = sum_over({planner::Axis::kDpShard, planner::Axis::kDpReplicate}, labels);
  return loss / static_cast<double>(std::max<std::int64_t>(1, labels));
}

double StepRunner::forward_loss(const Batch& batch) {
  const planner::ModelSpec& model = context_.model;
  const auto unit_with_parameters = [this](std::int64_t index) -> ShardedUnit& {
    ShardedUnit& unit = units_[static_cast<std::size_t>(index)];
    sharding_.gather(unit);
    sharding_.wait_gathered(unit);
    return unit;
  };
  ShardedUnit& embedding = unit_with_parameters(planner::embedding_unit(model));
  at::Tensor activations = forward_embedding(embedding_weight(embedding.flat, embedding.gathered),
                                             vocabulary_, batch.tokens.view(-1), block_context_.tp);
  sharding_.release(embedding);
  for (std::int64_t block = 0; block < model.num_hidden_layers; ++block) {
    ShardedUnit& unit = unit_with_parameters(planner::block_unit(model, block));
    BlockSaved unused;
    activations = forward_block(block_weights(unit.flat, unit.gathered), block_context_,
                                kKeepNothing, std::move(activations), unused);
    sharding_.release(unit);
  }
  ShardedUnit& head = unit_with_parameters(planner::head_unit(model));
  const HeadLoss result =
      head_loss(head_weights(head.flat, head.gathered), {},
                {.rms_norm_eps = model.rms_norm_eps,
                 .slice = vocabulary_,
                 .chunks = context_.layout.loss_chunks,
                 .with_gradient = false},
                std::move(activations), batch.labels.view(-1), block_context_.tp);
  sharding_.release(head);
  return result.loss_sum;
}

}  // namespace meshplan::executor
