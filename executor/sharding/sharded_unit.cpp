#include "executor/sharding/sharded_unit.h"

#include <ATen/ATen.h>

#include "executor/kernels/accumulate.h"

namespace meshplan::executor {

using planner::ParameterCopy;

at::ScalarType scalar_type(common::DataType type) {
  switch (type) {
    case common::DataType::kFloat32:
      return at::kFloat;
    case common::DataType::kBfloat16:
      return at::kBFloat16;
    case common::DataType::kFloat16:
      return at::kHalf;
    case common::DataType::kFloat8:
      break;
  }
  return at::kFloat;
}

UnitSharding::UnitSharding(const planner::StepContext& context, Communicator& dp_shard,
                           Communicator& dp_replicate, at::Device device)
    : context_(context),
      dp_shard_(dp_shard),
      dp_replicate_(dp_replicate),
      device_(device),
      param_type_(scalar_type(context.job.param_dtype)),
      reduce_type_(scalar_type(context.job.reduce_dtype)),
      master_type_(scalar_type(context.job.master_dtype)) {}

at::Tensor UnitSharding::make(std::int64_t elements, at::ScalarType type) const {
  return at::empty({elements}, at::TensorOptions(type).device(device_));
}

ShardedUnit UnitSharding::make_unit(std::int64_t unit) const {
  ShardedUnit made;
  made.flat = planner::flat_layout_of(context_, unit);
  const std::int64_t slice = made.flat.shard_elements;
  if (context_.parameter_copy() == ParameterCopy::kPersistent)
    made.gathered = make(made.flat.elements, param_type_).zero_();
  made.master = context_.master_in_copy() ? made.gathered.narrow(0, dp_shard_.rank() * slice, slice)
                                          : make(slice, master_type_).zero_();
  made.first_moment = make(slice, master_type_).zero_();
  made.second_moment = make(slice, master_type_).zero_();
  return made;
}

void UnitSharding::gather(ShardedUnit& unit) const {
  const ParameterCopy copy = context_.parameter_copy();
  if (copy == ParameterCopy::kNone) {
    unit.gathered = unit.master;
    return;
  }
  if (copy == ParameterCopy::kGathered) unit.gathered = make(unit.flat.elements, param_type_);
  const at::Tensor slice = unit.gathered.narrow(0, dp_shard_.rank() * unit.flat.shard_elements,
                                                unit.flat.shard_elements);
  if (!context_.master_in_copy()) slice.copy_(unit.master);
  unit.gathering = dp_shard_.all_gather(unit.gathered, slice);
}

void UnitSharding::release(ShardedUnit& unit) const {
  if (context_.parameter_copy() == ParameterCopy::kGathered) unit.gathered.reset();
}

void UnitSharding::make_gradient(ShardedUnit& unit) const {
  unit.gradient = make(unit.flat.elements, param_type_);
  for (const planner::FlatRange& gap : unit.flat.gaps)
    unit.gradient.slice(0, gap.begin, gap.end).zero_();
}

bool UnitSharding::keeps_whole(const planner::MicrobatchPlace& place) const {
  return planner::accumulates_whole_gradients(context_.layout) && !(place.first && place.last);
}

void UnitSharding::accumulate(at::Tensor& kept, ShardedUnit& unit, bool first_microbatch) const {
  if (!first_microbatch && param_type_ == reduce_type_) {
    kept.add_(unit.gradient);
  } else if (!first_microbatch) {
    executor::accumulate(kept, unit.gradient);
  } else if (param_type_ == reduce_type_) {
    kept = unit.gradient;
  } else {
    kept = make(unit.flat.elements, reduce_type_);
    kept.copy_(unit.gradient);
  }
  unit.gradient.reset();
}

void UnitSharding::reduce(ShardedUnit& unit, const planner::MicrobatchPlace& place) const {
  if (!shards()) return accumulate(unit.gradient_slice, unit, place.first);
  if (!keeps_whole(place)) return issue_reduction(unit, place);
  accumulate(unit.whole_gradient, unit, place.first);
  if (!place.last) return;
  unit.gradient_slice = make(unit.flat.shard_elements, reduce_type_);
  unit.reducing = dp_shard_.reduce_scatter(unit.gradient_slice, unit.whole_gradient);
}

void UnitSharding::issue_reduction(ShardedUnit& unit, const planner::MicrobatchPlace& place) const {
  at::Tensor input = unit.gradient;
  if (reduce_type_ != param_type_) {
    unit.wide_gradient = make(unit.flat.elements, reduce_type_);
    unit.wide_gradient.copy_(unit.gradient);
    input = unit.wide_gradient;
  }
  at::Tensor& output = place.first ? unit.gradient_slice : unit.reduced_slice;
  output = make(unit.flat.shard_elements, reduce_type_);
  unit.reducing = dp_shard_.reduce_scatter(output, input);
}

void UnitSharding::retire(ShardedUnit& unit) const {
  if (!shards()) return;
  unit.reducing.wait();
  unit.whole_gradient.reset();
  if (unit.reduced_slice.defined()) unit.gradient_slice.add_(unit.reduced_slice);
  unit.reduced_slice.reset();
  unit.wide_gradient.reset();
  unit.gradient.reset();
}

void UnitSharding::sum_replicas(ShardedUnit& unit) const {
  unit.summing = dp_replicate_.all_reduce(unit.gradient_slice, ReduceOp::kSum);
}

}  // namespace meshplan::executor
