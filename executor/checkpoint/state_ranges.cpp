#include "executor/checkpoint/state_ranges.h"

#include <algorithm>

namespace meshplan::executor {
namespace {

using planner::TpSplit;

/// The elements [begin, end) of what a tp rank holds of the parameter, as a range of the whole.
formats::TensorRange range_of(const planner::FlatEntry& entry, std::int64_t tp_rank,
                              std::int64_t begin, std::int64_t end) {
  const planner::Parameter& parameter = entry.parameter;
  const std::int64_t row = formats::row_length(parameter.shape);
  if (parameter.split == TpSplit::kRow) {
    const std::int64_t columns = entry.local_shape[1];
    return {tp_rank * columns, columns, begin, end};
  }
  const std::int64_t before =
      parameter.split == TpSplit::kReplicated ? 0 : tp_rank * entry.elements;
  // The last ranks of a padded vocabulary hold rows that the parameter does not have.
  const std::int64_t whole = planner::element_count(parameter);
  return {0, row, std::min(before + begin, whole), std::min(before + end, whole)};
}

}  // namespace

std::vector<StateRange> state_ranges(const planner::FlatLayout& flat, const ParameterPlace& place) {
  const std::int64_t slice = place.dp_shard_rank * flat.shard_elements;
  std::vector<StateRange> ranges;
  for (const planner::FlatEntry& entry : flat.entries) {
    const std::int64_t begin = std::max<std::int64_t>(0, slice - entry.offset);
    const std::int64_t end = std::min(entry.elements, slice + flat.shard_elements - entry.offset);
    if (begin >= end) continue;
    const formats::TensorRange range = range_of(entry, place.tp_rank, begin, end);
    if (range.elements() > 0) ranges.push_back({&entry, entry.offset + begin - slice, range});
  }
  return ranges;
}

}  // namespace meshplan::executor
