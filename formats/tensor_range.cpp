#include "formats/tensor_range.h"

#include <algorithm>

#include "common/checked.h"

namespace meshplan::formats {
namespace {

/// The columns of the whole tensor that the range has in a row: [begin, end).
struct ColumnSpan {
  std::int64_t begin;
  std::int64_t end;
};

ColumnSpan columns_in_row(const TensorRange& range, std::int64_t row) {
  const std::int64_t start = row * range.columns;
  return {range.column_begin + std::max<std::int64_t>(0, range.begin - start),
          range.column_begin + std::min(range.columns, range.end - start)};
}

/// Where a column of a row lies in the range.
std::int64_t place_in(const TensorRange& range, std::int64_t row, std::int64_t column) {
  return row * range.columns + column - range.column_begin - range.begin;
}

}  // namespace

std::int64_t row_length(const std::vector<std::int64_t>& shape) {
  std::int64_t length = 1;
  for (std::size_t dim = shape.size() > 1 ? 1 : 0; dim < shape.size(); ++dim) {
    length = common::checked_multiply(length, shape[dim], "shape");
  }
  return length;
}

void for_each_segment(const TensorRange& range, std::int64_t row_length,
                      const std::function<void(const TensorSegment&)>& visit) {
  if (range.begin >= range.end) return;
  if (range.columns == row_length) return visit({range.begin, 0, range.elements()});
  for (std::int64_t done = range.begin; done < range.end;) {
    const std::int64_t row = done / range.columns;
    const std::int64_t column = done % range.columns;
    const std::int64_t count = std::min(range.columns - column, range.end - done);
    visit({row * row_length + range.column_begin + column, done - range.begin, count});
    done += count;
  }
}

void for_each_shared(const TensorRange& first, const TensorRange& second, std::int64_t row_length,
                     const std::function<void(const SharedSegment&)>& visit) {
  if (first.begin >= first.end || second.begin >= second.end) return;
  if (first.columns == row_length && second.columns == row_length) {
    const std::int64_t begin = std::max(first.begin, second.begin);
    const std::int64_t end = std::min(first.end, second.end);
    if (begin < end) visit({begin - first.begin, begin - second.begin, end - begin});
    return;
  }
  const std::int64_t begin_row =
      std::max(first.begin / first.columns, second.begin / second.columns);
  const std::int64_t end_row =
      std::min((first.end - 1) / first.columns, (second.end - 1) / second.columns) + 1;
  for (std::int64_t row = begin_row; row < end_row; ++row) {
    const ColumnSpan a = columns_in_row(first, row);
    const ColumnSpan b = columns_in_row(second, row);
    const std::int64_t begin = std::max(a.begin, b.begin);
    const std::int64_t end = std::min(a.end, b.end);
    if (begin < end)
      visit({place_in(first, row, begin), place_in(second, row, begin), end - begin});
  }
}

}  // namespace meshplan::formats
