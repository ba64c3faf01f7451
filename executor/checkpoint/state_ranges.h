#pragma once

#include <cstdint>
#include <vector>

#include "executor/model/initial_parameters.h"
#include "formats/tensor_range.h"
#include "planner/model/flat_layout.h"

namespace meshplan::executor {

/// What a rank's slice of a unit holds of one parameter, padding left out.
struct StateRange {
  const planner::FlatEntry* entry;
  /// First element in the slice.
  std::int64_t slice_begin;
  formats::TensorRange range;
};

/// The ranges of the slice, in its order; at most one a parameter.
std::vector<StateRange> state_ranges(const planner::FlatLayout& flat, const ParameterPlace& place);

}  // namespace meshplan::executor
