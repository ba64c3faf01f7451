#pragma once

#include <cstdint>
#include <functional>

#include "planner/model/flat_layout.h"

namespace meshplan::planner {

/// Elements that are contiguous both in a unit's flat buffer and in the whole parameter, as a
/// checkpoint stores it.
struct ParameterRun {
  const FlatEntry* entry;
  /// First element in the flat buffer.
  std::int64_t flat_begin;
  /// First element in the whole parameter, row-major.
  std::int64_t parameter_begin;
  std::int64_t elements;
};

/// Calls `visit` for every run of the flat buffer's [range.begin, range.end), in the order of the
/// buffer. Padding, of the buffer or of the vocabulary, is in no run. tp_rank is the rank whose
/// part the buffer holds.
void for_each_run(const FlatLayout& flat, const FlatRange& range, std::int64_t tp_rank,
                  const std::function<void(const ParameterRun&)>& visit);

}  // namespace meshplan::planner
