#include "executor/checkpoint/load_state.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <span>

#include "common/error.h"
#include "executor/checkpoint/state_ranges.h"

namespace meshplan::executor {
namespace {

using common::Error;
using common::ErrorCode;
using formats::CheckpointPart;
using formats::CheckpointReader;
using formats::CheckpointTensor;

/// The part that has the parameters in full.
CheckpointPart parameters_of(const CheckpointReader& checkpoint) {
  for (const CheckpointTensor& tensor : checkpoint.manifest().tensors) {
    if (tensor.part == CheckpointPart::kMaster) return CheckpointPart::kMaster;
  }
  return CheckpointPart::kWeights;
}

const CheckpointTensor& tensor_of(const CheckpointReader& checkpoint, CheckpointPart part,
                                  const planner::Parameter& parameter) {
  const CheckpointTensor* tensor = checkpoint.find(part, parameter.name);
  const std::string where = checkpoint.path().string();
  if (tensor == nullptr) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("has no {} of {}; it is of another model, or holds weights alone: give "
                            "it as --model instead",
                            to_string(part), parameter.name),
                where);
  }
  if (tensor->shape != parameter.shape) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("{} has shape [{}], in this model [{}]; resume with the model that it "
                            "was trained from",
                            parameter.name, fmt::join(tensor->shape, ", "),
                            fmt::join(parameter.shape, ", ")),
                where);
  }
  if (tensor->type != formats::TensorType::kF32) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("{} of {} has type {}, not F32: an exported checkpoint is for --model, "
                            "not for --resume",
                            to_string(part), parameter.name, formats::to_string(tensor->type)),
                where);
  }
  return *tensor;
}

/// Reads the slice of one part into a tensor [shard_elements] of zeros.
void load_slice(const at::Tensor& slice, const std::vector<StateRange>& ranges, CheckpointPart part,
                const CheckpointReader& checkpoint) {
  const bool on_host = slice.device().is_cpu() && slice.scalar_type() == at::kFloat;
  const at::Tensor host = on_host ? slice : at::zeros({slice.numel()}, at::kFloat);
  host.zero_();
  auto* values = host.data_ptr<float>();
  for (const StateRange& state : ranges) {
    checkpoint.read(tensor_of(checkpoint, part, state.entry->parameter), state.range,
                    {values + state.slice_begin, static_cast<std::size_t>(state.range.elements())});
  }
  if (!on_host) slice.copy_(host);
}

}  // namespace

void check_is_of_model(const CheckpointReader& checkpoint, const planner::ModelSpec& model) {
  std::int64_t parameters = 0;
  const CheckpointPart of_parameters = parameters_of(checkpoint);
  for (std::int64_t unit = 0; unit < planner::unit_count(model); ++unit) {
    for (const planner::Parameter& parameter :
         planner::parameters_of(model, planner::unit_at(model, unit))) {
      ++parameters;
      for (const CheckpointPart part :
           {of_parameters, CheckpointPart::kFirstMoment, CheckpointPart::kSecondMoment}) {
        tensor_of(checkpoint, part, parameter);
      }
    }
  }
  std::int64_t stored = 0;
  for (const CheckpointTensor& tensor : checkpoint.manifest().tensors)
    stored += tensor.part == of_parameters ? 1 : 0;
  if (stored != parameters) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("holds {} parameters, this model has {}; resume with the model that it "
                            "was trained from",
                            stored, parameters),
                checkpoint.path().string());
  }
}

void load_state(std::vector<ShardedUnit>& units, const ParameterPlace& place,
                const CheckpointReader& checkpoint) {
  const CheckpointPart of_parameters = parameters_of(checkpoint);
  for (ShardedUnit& unit : units) {
    const std::vector<StateRange> ranges = state_ranges(unit.flat, place);
    load_slice(unit.master, ranges, of_parameters, checkpoint);
    load_slice(unit.first_moment, ranges, CheckpointPart::kFirstMoment, checkpoint);
    load_slice(unit.second_moment, ranges, CheckpointPart::kSecondMoment, checkpoint);
  }
}

}  // namespace meshplan::executor
