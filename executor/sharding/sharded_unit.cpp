#include "executor/sharding/sharded_unit.h"

#include <ATen/ATen.h>

namespace meshplan::executor {

at::ScalarType scalar_type(common::DataType type) {
  switch (type) {
    case common::DataType::kFloat32:
      return at::kFloat;
    case common::DataType::kBfloat16:
      return at::kBFloat16;
    case common::DataType::kFloat16:
      return at::kHalf;
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
      reduce_type_(scalar_type(context.job.reduce_dtype)) {}

at::Tensor UnitSharding::make(std::int64_t elements, at::ScalarType type) const {
  return at::empty({elements}, at::TensorOptions(type).device(device_));
}

ShardedUnit UnitSharding::make_unit(std::int64_t unit) const {
  ShardedUnit made;
  made.flat = planner::flat_layout_of(context_, unit);
  made.master = make(made.flat.shard_elements, at::kFloat).zero_();
  made.first_moment = make(made.flat.shard_elements, at::kFloat).zero_();
  made.second_moment = make(made.flat.shard_elements, at::kFloat).zero_();
  return made;
}

void UnitSharding::gather(ShardedUnit& unit) const {
  if (!context_.gathers_copy()) {
    unit.gathered = unit.master;
    return;
  }
  unit.gathered = make(unit.flat.elements, param_type_);
  const at::Tensor slice = unit.gathered.narrow(0, dp_shard_.rank() * unit.flat.shard_elements,
                                                unit.flat.shard_elements);
  slice.copy_(unit.master);
  unit.gathering = dp_shard_.all_gather(unit.gathered, slice);
}

void UnitSharding::release(ShardedUnit& unit) const { unit.gathered.reset(); }

void UnitSharding::make_gradient(ShardedUnit& unit) const {
  unit.gradient = make(unit.flat.elements, param_type_);
  for (const planner::FlatRange& gap : unit.flat.gaps)
    unit.gradient.slice(0, gap.begin, gap.end).zero_();
}

void UnitSharding::reduce_locally(ShardedUnit& unit, const planner::MicrobatchPlace& place) const {
  if (!place.first) {
    unit.gradient_slice.add_(unit.gradient);
  } else if (param_type_ == at::kFloat) {
    unit.gradient_slice = unit.gradient;
  } else {
    unit.gradient_slice = make(unit.flat.elements, at::kFloat);
    unit.gradient_slice.copy_(unit.gradient);
  }
  unit.gradient.reset();
}

void UnitSharding::reduce(ShardedUnit& unit, const planner::MicrobatchPlace& place) const {
  if (!shards()) {
    reduce_locally(unit, place);
    return;
  }
  at::Tensor input = unit.gradient;
  if (reduce_type_ != param_type_) {
    unit.wide_gradient = make(unit.flat.elements, reduce_type_);
    unit.wide_gradient.copy_(unit.gradient);
    input = unit.wide_gradient;
  }
  at::Tensor& output = place.first ? unit.gradient_slice : unit.reduced_slice;
  output = make(unit.flat.shard_elements, place.first ? at::kFloat : reduce_type_);
  unit.reducing = dp_shard_.reduce_scatter(output, input);
}

void UnitSharding::retire(ShardedUnit& unit, const planner::MicrobatchPlace& place) const {
  if (shards()) {
    unit.reducing.wait();
    if (!place.first) unit.gradient_slice.add_(unit.reduced_slice);
    unit.reduced_slice.reset();
    unit.wide_gradient.reset();
    unit.gradient.reset();
  }
  if (place.last) dp_replicate_.all_reduce(unit.gradient_slice, ReduceOp::kSum).wait();
}

}  // namespace meshplan::executor
