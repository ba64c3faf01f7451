#pragma once

#include <ATen/core/Tensor.h>

#include "executor/comm/communicator.h"
#include "planner/model/flat_layout.h"
#include "planner/program/step_context.h"
#include "planner/program/step_program.h"

namespace meshplan::executor {

/// One unit of parameters on one rank, all buffers flat. Which of them exist at a moment is what
/// the program's gather_parameters, release_parameters and reduce_gradients say.
struct ShardedUnit {
  planner::FlatLayout flat;

  /// This rank's slice, in master_dtype [shard_elements]: parameters and AdamW's moments.
  at::Tensor master;
  at::Tensor first_moment;
  at::Tensor second_moment;

  /// The whole unit in param_dtype [elements], as planner::ParameterCopy says: between gather and
  /// release, always, or the master itself.
  at::Tensor gathered;
  Pending gathering;

  /// The whole gradient of one microbatch in param_dtype [elements], from its computation to the
  /// end of its reduction.
  at::Tensor gradient;
  /// The same in reduce_dtype, where that differs.
  at::Tensor wide_gradient;
  /// The reduced slice of a later microbatch, until it is added.
  at::Tensor reduced_slice;
  Pending reducing;
  /// The whole gradient of all microbatches so far in reduce_dtype [elements], where it is kept
  /// whole, to the end of its reduction.
  at::Tensor whole_gradient;

  /// The step's gradient of this rank's slice, in reduce_dtype [shard_elements], from the first
  /// reduction to the optimizer's step.
  at::Tensor gradient_slice;
  Pending summing;
};

/// How a rank's units are sharded, gathered and reduced: the counterpart of the planner's expand()
/// for these instructions.
class UnitSharding {
 public:
  UnitSharding(const planner::StepContext& context, Communicator& dp_shard,
               Communicator& dp_replicate, at::Device device);

  /// The unit's slice and moments, zeros.
  ShardedUnit make_unit(std::int64_t unit) const;

  /// Issues the gathering; the copy may be read after wait_gathered().
  void gather(ShardedUnit& unit) const;
  void wait_gathered(ShardedUnit& unit) const { unit.gathering.wait(); }
  void release(ShardedUnit& unit) const;

  /// Makes the unit's gradient buffer, with zeros where no parameter lies.
  void make_gradient(ShardedUnit& unit) const;
  /// Issues the reduction of a microbatch's gradient; keeps it instead where whole gradients are
  /// accumulated and another microbatch follows.
  void reduce(ShardedUnit& unit, const planner::MicrobatchPlace& place) const;
  /// Waits for the reduction, adds it to the step's gradient and frees its buffers.
  void retire(ShardedUnit& unit) const;
  /// Issues the sum over replicas; the gradient may be read after wait_summed().
  void sum_replicas(ShardedUnit& unit) const;
  void wait_summed(ShardedUnit& unit) const { unit.summing.wait(); }

 private:
  bool shards() const { return dp_shard_.size() > 1; }
  at::Tensor make(std::int64_t elements, at::ScalarType type) const;
  bool keeps_whole(const planner::MicrobatchPlace& place) const;
  void accumulate(at::Tensor& kept, ShardedUnit& unit, bool first_microbatch) const;
  void issue_reduction(ShardedUnit& unit, const planner::MicrobatchPlace& place) const;

  const planner::StepContext& context_;
  Communicator& dp_shard_;
  Communicator& dp_replicate_;
  at::Device device_;
  at::ScalarType param_type_;
  at::ScalarType reduce_type_;
  at::ScalarType master_type_;
};

/// torch's name for the type.
at::ScalarType scalar_type(common::DataType type);

}  // namespace meshplan::executor
