#include "executor/run/step_runner.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <initializer_list>
#include <utility>

#include "common/error.h"
#include "executor/layers/embedding.h"
#include "executor/model/weight_views.h"

namespace meshplan::executor {
namespace {

using planner::Axis;
using planner::Computation;
using planner::Instruction;
using planner::Opcode;

VocabularySlice vocabulary_slice(const planner::StepContext& context, std::int64_t tp_rank) {
  const std::int64_t start = tp_rank * context.vocab_rows;
  return {
      .start = start,
      .rows = std::clamp<std::int64_t>(context.model.vocab_size - start, 0, context.vocab_rows)};
}

planner::DeviceKind kind_of(at::Device device) {
  return device.is_cpu() ? planner::DeviceKind::kCpu : planner::DeviceKind::kGpu;
}

}  // namespace

StepRunner::StepRunner(const planner::Plan& plan, std::int64_t rank,
                       MeshCommunicators& communicators, at::Device device)
    : context_(planner::make_step_context(plan.model, plan.job, plan.layout, kind_of(device))),
      communicators_(communicators),
      device_(device),
      coordinates_(planner::coordinates_of(plan.layout.mesh, rank)),
      sharding_(context_, communicators[Axis::kDpShard], communicators[Axis::kDpReplicate], device),
      program_(planner::unroll(planner::build_program(plan.model, plan.job, plan.layout))),
      rope_(make_rope_table(plan.model.rope, plan.model.head_dim, plan.job.seq_length, at::kFloat,
                            device)),
      block_context_{plan.model.rms_norm_eps,
                     rope_,
                     {communicators[Axis::kTp], plan.layout.sequence_parallel}},
      vocabulary_(vocabulary_slice(context_, coordinates_[Axis::kTp])),
      scales_loss_(plan.job.param_dtype == common::DataType::kFloat16),
      saved_(static_cast<std::size_t>(plan.model.num_hidden_layers)) {
  for (std::int64_t unit = 0; unit < planner::unit_count(plan.model); ++unit) {
    units_.push_back(sharding_.make_unit(unit));
  }
}

StepResult StepRunner::run(const std::vector<Batch>& microbatches, const AdamwOptions& adamw,
                           std::int64_t step, TraceRecorder& trace) {
  microbatches_ = &microbatches;
  adamw_ = adamw;
  step_ = step;
  result_ = {};
  for (const Batch& batch : microbatches) result_.tokens += batch.label_count;
  for (const Instruction& instruction : program_) {
    const auto slice = trace.compute(context_.model, instruction);
    execute(instruction);
  }
  microbatches_ = nullptr;
  return result_;
}

void StepRunner::execute(const Instruction& instruction) {
  switch (instruction.opcode) {
    case Opcode::kCountTokens:
      return count_tokens();
    case Opcode::kGatherParameters:
      return sharding_.gather(unit_of(instruction));
    case Opcode::kReleaseParameters:
      return sharding_.release(unit_of(instruction));
    case Opcode::kForward:
      return forward(instruction);
    case Opcode::kBackward:
      return backward(instruction);
    case Opcode::kLoss:
      retire(instruction);
      return loss(instruction);
    case Opcode::kReduceReplicatedGradients:
      return reduce_replicated(instruction);
    case Opcode::kReduceGradients:
      retire(instruction);
      return sharding_.reduce(unit_of(instruction), instruction.place);
    case Opcode::kSumReplicas:
      retire(instruction);
      return sharding_.sum_replicas(unit_of(instruction));
    case Opcode::kGradientNorm:
      retire(instruction);
      return gradient_norm();
    case Opcode::kClipGradients:
      return clip_gradients();
    case Opcode::kOptimizerStep:
      return optimizer_step();
    case Opcode::kReportLoss:
      return report_loss();
    case Opcode::kReduceTiedGradients:
    case Opcode::kSendActivations:
    case Opcode::kReceiveActivations:
      throw common::Error(common::ErrorCode::kInternal,
                          std::string(planner::to_string(instruction.opcode)) +
                              ": the executor has no pipeline axis",
                          "step program");
  }
}

BlockSaved& StepRunner::saved_of(const Instruction& instruction) {
  return saved_[static_cast<std::size_t>(planner::unit_at(context_.model, instruction.unit).block)];
}

template <class Number>
Number StepRunner::sum_over(std::initializer_list<Axis> axes, Number value) {
  const at::Tensor sum = at::full(
      {1}, value, at::TensorOptions(c10::CppTypeToScalarType<Number>::value).device(device_));
  for (Axis axis : axes) communicators_[axis].all_reduce(sum, ReduceOp::kSum).wait();
  return sum.item<Number>();
}

void StepRunner::count_tokens() {
  result_.tokens = sum_over({Axis::kDpShard, Axis::kDpReplicate}, result_.tokens);
}

double StepRunner::loss_weight(const Batch& batch) const {
  if (context_.job.loss_normalization == planner::LossNormalization::kGlobalTokens) {
    return 1.0 / static_cast<double>(std::max<std::int64_t>(1, result_.tokens));
  }
  const std::int64_t shares =
      context_.layout.accumulation * planner::data_parallel_size(context_.layout.mesh);
  return 1.0 / static_cast<double>(std::max<std::int64_t>(1, batch.label_count) * shares);
}

void StepRunner::forward(const Instruction& instruction) {
  ShardedUnit& unit = unit_of(instruction);
  sharding_.wait_gathered(unit);
  if (instruction.computation == Computation::kEmbedding) {
    activations_ = forward_embedding(embedding_weight(unit.flat, unit.gathered), vocabulary_,
                                     batch_of(instruction).tokens.view(-1), block_context_.tp);
  } else {
    activations_ =
        forward_block(block_weights(unit.flat, unit.gathered), block_context_,
                      instruction.recompute, std::move(activations_), saved_of(instruction));
  }
}

void StepRunner::loss(const Instruction& instruction) {
  ShardedUnit& unit = unit_of(instruction);
  sharding_.wait_gathered(unit);
  sharding_.make_gradient(unit);
  const Batch& batch = batch_of(instruction);
  const HeadLossOptions options{.rms_norm_eps = context_.model.rms_norm_eps,
                                .slice = vocabulary_,
                                .chunks = context_.layout.loss_chunks,
                                .scale = loss_weight(batch) * scale(),
                                .with_gradient = true};
  HeadLoss head =
      head_loss(head_weights(unit.flat, unit.gathered), head_weights(unit.flat, unit.gradient),
                options, std::move(activations_), batch.labels.view(-1), block_context_.tp);
  result_.loss += head.loss_sum * loss_weight(batch);
  gradient_ = std::move(head.grad);
}

void StepRunner::backward(const Instruction& instruction) {
  ShardedUnit& unit = unit_of(instruction);
  if (instruction.computation == Computation::kEmbedding) {
    const bool tied = context_.model.tie_word_embeddings;
    if (!tied) sharding_.make_gradient(unit);
    const at::Tensor weight_gradient = embedding_weight(unit.flat, unit.gradient);
    if (!tied) weight_gradient.zero_();
    backward_embedding(gradient_, vocabulary_, batch_of(instruction).tokens.view(-1),
                       block_context_.tp, weight_gradient);
    gradient_.reset();
  } else {
    sharding_.wait_gathered(unit);
    sharding_.make_gradient(unit);
    gradient_ = backward_block(block_weights(unit.flat, unit.gathered),
                               block_weights(unit.flat, unit.gradient), block_context_,
                               std::exchange(saved_of(instruction), {}), std::move(gradient_));
  }
}

void StepRunner::reduce_replicated(const Instruction& instruction) {
  const planner::FlatRange& range = context_.sizes_of(instruction.unit).replicated_gradients;
  const at::Tensor gradients = unit_of(instruction).gradient.slice(0, range.begin, range.end);
  block_context_.tp.group.all_reduce(gradients, ReduceOp::kSum).wait();
}

void StepRunner::retire(const Instruction& instruction) {
  if (instruction.retires == planner::kNoUnit) return;
  sharding_.retire(units_[static_cast<std::size_t>(instruction.retires)]);
}

void StepRunner::gradient_norm() {
  for (ShardedUnit& unit : units_) sharding_.wait_summed(unit);
  const double squares =
      squared_gradient_norm(units_, coordinates_[Axis::kDpShard], coordinates_[Axis::kTp])
          .item<double>();
  result_.gradient_norm = std::sqrt(sum_over({Axis::kDpShard, Axis::kTp}, squares)) / scale();
  result_.updated = std::isfinite(result_.gradient_norm);
  if (!result_.updated && !scales_loss_) {
    throw common::Error(common::ErrorCode::kDiverged,
                        fmt::format("the gradient norm is {} at step {}; nothing was updated. "
                                    "Lower the learning rate, clip "
                                    "gradients (--max-grad-norm) or look at this step's data",
                                    result_.gradient_norm, step_ - 1),
                        "training");
  }
}

void StepRunner::clip_gradients() {
  if (!result_.updated) return;
  const double limit = context_.job.max_grad_norm;
  // As torch's clip_grad_norm_: the small term keeps a norm of 0 from dividing.
  const double clip = limit > 0 ? std::min(1.0, limit / (result_.gradient_norm + 1e-6)) : 1.0;
  if (clip / scale() != 1) scale_gradients(units_, clip / scale());
}

void StepRunner::optimizer_step() {
  if (result_.updated)
    adamw_step(units_, coordinates_[Axis::kDpShard], adamw_, step_ - loss_scale_.skipped);
  for (ShardedUnit& unit : units_) unit.gradient_slice.reset();
  if (scales_loss_) loss_scale_ = next_scale(loss_scale_, result_.updated);
}

void StepRunner::report_loss() {
  result_.loss = sum_over({Axis::kDpShard, Axis::kDpReplicate}, result_.loss);
}

}  // namespace meshplan::executor
