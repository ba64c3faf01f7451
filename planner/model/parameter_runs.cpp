#include "planner/model/parameter_runs.h"

#include <algorithm>

namespace meshplan::planner {
namespace {

/// Columns of this rank's part where tensor parallelism divides the columns; 0 where it does not,
/// and the part is one run.
std::int64_t split_columns(const FlatEntry& entry) {
  return split_dim(entry.parameter) == 1 ? entry.local_shape[1] : 0;
}

/// Where element `local` of this rank's part lies in the whole parameter; valid up to the end of
/// the part's row.
std::int64_t whole_index(const FlatEntry& entry, std::int64_t tp_rank, std::int64_t local) {
  if (!split_dim(entry.parameter)) return local;
  const std::int64_t columns = split_columns(entry);
  if (columns == 0) return tp_rank * entry.elements + local;
  return local / columns * entry.parameter.shape[1] + tp_rank * columns + local % columns;
}

/// Elements from `local` on that are contiguous in the whole parameter.
std::int64_t contiguous_from(const FlatEntry& entry, std::int64_t local) {
  const std::int64_t columns = split_columns(entry);
  return columns == 0 ? entry.elements - local : columns - local % columns;
}

}  // namespace

void for_each_run(const FlatLayout& flat, const FlatRange& range, std::int64_t tp_rank,
                  const std::function<void(const ParameterRun&)>& visit) {
  for (const FlatEntry& entry : flat.entries) {
    const std::int64_t whole = element_count(entry.parameter);
    std::int64_t local = std::max<std::int64_t>(0, range.begin - entry.offset);
    const std::int64_t end = std::min(entry.elements, range.end - entry.offset);
    while (local < end) {
      const std::int64_t begin = whole_index(entry, tp_rank, local);
      const std::int64_t length = std::min(contiguous_from(entry, local), end - local);
      const std::int64_t present = std::min(length, whole - begin);
      if (present > 0) visit({&entry, entry.offset + local, begin, present});
      local += length;
    }
  }
}

}  // namespace meshplan::planner
