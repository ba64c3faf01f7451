#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "executor/comm/mesh_communicators.h"
#include "executor/data/batches.h"
#include "executor/model/model_computations.h"
#include "executor/optim/adamw.h"
#include "executor/optim/loss_scale.h"
#include "executor/run/trace_recorder.h"
#include "executor/sharding/sharded_unit.h"
#include "planner/plan/plan.h"

namespace meshplan::executor {

/// What a step reports; the same on every rank.
struct StepResult {
  /// By the job's normalisation, before the update.
  double loss = 0;
  double gradient_norm = 0;
  /// Tokens that were trained on, over all ranks.
  std::int64_t tokens = 0;
  /// False where float16 gradients overflowed: parameters are as they were.
  bool updated = true;
};

/// Runs the plan's step program on one rank: an interpreter that does, instruction by instruction,
/// what the program says, and nothing beside it. Owns the rank's parameters and optimizer state.
class StepRunner {
 public:
  /// Parameters are zeros until they are loaded into units().
  StepRunner(const planner::Plan& plan, std::int64_t rank, MeshCommunicators& communicators,
             at::Device device);
  StepRunner(const StepRunner&) = delete;
  StepRunner& operator=(const StepRunner&) = delete;

  std::vector<ShardedUnit>& units() { return units_; }
  const planner::StepContext& context() const { return context_; }

  /// Of the next step; it counts in float16 alone.
  const LossScale& loss_scale() const { return loss_scale_; }
  void set_loss_scale(const LossScale& scale) { loss_scale_ = scale; }

  /// One update from `accumulation` microbatches. `step` counts steps from 1. Throws kDiverged,
  /// before the update, when the gradient norm is not finite; in float16 the step is left out, and
  /// the loss scale halved.
  StepResult run(const std::vector<Batch>& microbatches, const AdamwOptions& adamw,
                 std::int64_t step, TraceRecorder& trace);

  /// The mean loss over the labels of `count` batches, batch_at(0) and on, and of the other
  /// data-parallel ranks' (as many each), forward only and outside of any step: none of its
  /// collectives is logged.
  double evaluate(std::int64_t count, const std::function<Batch(std::int64_t)>& batch_at);

 private:
  void execute(const planner::Instruction& instruction);
  void count_tokens();
  void loss(const planner::Instruction& instruction);
  void reduce_replicated(const planner::Instruction& instruction);
  void retire(const planner::Instruction& instruction);
  void gradient_norm();
  void clip_gradients();
  void optimizer_step();
  void report_loss();

  ShardedUnit& unit_of(const planner::Instruction& instruction) {
    return units_[static_cast<std::size_t>(instruction.unit)];
  }
  const Batch& batch_of(const planner::Instruction& instruction) const {
    return (*microbatches_)[static_cast<std::size_t>(instruction.microbatch)];
  }
  /// What losses are multiplied by beside their weight.
  double scale() const { return scales_loss_ ? loss_scale_.scale : 1; }
  template <class Number>
  Number sum_over(std::initializer_list<planner::Axis> axes, Number value);

  planner::StepContext context_;
  MeshCommunicators& communicators_;
  at::Device device_;
  planner::AxisSizes coordinates_;
  UnitSharding sharding_;
  std::vector<ShardedUnit> units_;
  std::vector<planner::Instruction> program_;
  std::unique_ptr<ModelComputations> computations_;
  bool scales_loss_;
  LossScale loss_scale_;

  /// The step under way.
  const std::vector<Batch>* microbatches_ = nullptr;
  AdamwOptions adamw_;
  std::int64_t step_ = 0;
  StepResult result_;
};

}  // namespace meshplan::executor
