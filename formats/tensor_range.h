#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace meshplan::formats {

/// Some elements of a tensor, seen as a matrix of rows of row_length() elements: of the columns
/// [column_begin, column_begin + columns) the elements [begin, end), counted row by row within
/// these columns. What a rank holds of a parameter is one range, however tensor parallelism and
/// sharding cut it.
struct TensorRange {
  std::int64_t column_begin = 0;
  std::int64_t columns = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t elements() const { return end - begin; }
  bool operator==(const TensorRange&) const = default;
};

/// Elements of a row of a tensor of that shape: all of a scalar or vector, else those behind the
/// first dimension.
std::int64_t row_length(const std::vector<std::int64_t>& shape);

/// Elements that are contiguous in the whole tensor.
struct TensorSegment {
  /// First element in the whole tensor, row-major.
  std::int64_t first;
  /// The same, counted from the begin of the range.
  std::int64_t offset;
  std::int64_t count;
};

/// Calls `visit` for every segment of the range, in order.
void for_each_segment(const TensorRange& range, std::int64_t row_length,
                      const std::function<void(const TensorSegment&)>& visit);

/// Elements that two ranges of one tensor share and that are contiguous in both.
struct SharedSegment {
  /// Counted from the begin of each range.
  std::int64_t in_first;
  std::int64_t in_second;
  std::int64_t count;
};

/// Calls `visit` for every such segment, in order.
void for_each_shared(const TensorRange& first, const TensorRange& second, std::int64_t row_length,
                     const std::function<void(const SharedSegment&)>& visit);

}  // namespace meshplan::formats
