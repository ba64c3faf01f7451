#include "formats/tensor_range.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <vector>

namespace meshplan::formats {
namespace {

/// Every element of the range: where it lies in the whole tensor, in the range's order.
std::vector<std::int64_t> elements_of(const TensorRange& range, std::int64_t row_length) {
  std::vector<std::int64_t> elements;
  for (std::int64_t i = range.begin; i < range.end; ++i) {
    elements.push_back(i / range.columns * row_length + range.column_begin + i % range.columns);
  }
  return elements;
}

TensorRange random_range(std::int64_t rows, std::int64_t row_length) {
  TensorRange range;
  range.column_begin = *rc::gen::inRange<std::int64_t>(0, row_length);
  range.columns = *rc::gen::inRange<std::int64_t>(1, row_length - range.column_begin + 1);
  range.begin = *rc::gen::inRange<std::int64_t>(0, rows * range.columns + 1);
  range.end = *rc::gen::inRange<std::int64_t>(range.begin, rows * range.columns + 1);
  return range;
}

RC_GTEST_PROP(TensorRange, SegmentsAreItsElementsInOrder, ()) {
  const auto row_length = *rc::gen::inRange<std::int64_t>(1, 9);
  const TensorRange range = random_range(*rc::gen::inRange<std::int64_t>(1, 9), row_length);
  std::vector<std::int64_t> visited;
  for_each_segment(range, row_length, [&](const TensorSegment& segment) {
    RC_ASSERT(segment.offset == std::ssize(visited));
    for (std::int64_t i = 0; i < segment.count; ++i) visited.push_back(segment.first + i);
  });
  RC_ASSERT(visited == elements_of(range, row_length));
}

RC_GTEST_PROP(TensorRange, SharedSegmentsAreTheElementsInBothOnce, ()) {
  const auto row_length = *rc::gen::inRange<std::int64_t>(1, 9);
  const auto rows = *rc::gen::inRange<std::int64_t>(1, 9);
  const TensorRange first = random_range(rows, row_length);
  const TensorRange second = random_range(rows, row_length);
  const auto in_first = elements_of(first, row_length);
  const auto in_second = elements_of(second, row_length);
  std::map<std::int64_t, int> shared;
  for_each_shared(first, second, row_length, [&](const SharedSegment& segment) {
    for (std::int64_t i = 0; i < segment.count; ++i) {
      const auto a = static_cast<std::size_t>(segment.in_first + i);
      const auto b = static_cast<std::size_t>(segment.in_second + i);
      RC_ASSERT(in_first.at(a) == in_second.at(b));
      ++shared[in_first.at(a)];
    }
  });
  for (const std::int64_t element : in_first) {
    const bool both = std::find(in_second.begin(), in_second.end(), element) != in_second.end();
    RC_ASSERT(shared[element] == (both ? 1 : 0));
  }
}

TEST(TensorRange, TakesAVectorAsOneRow) {
  EXPECT_EQ(row_length({}), 1);
  EXPECT_EQ(row_length({7}), 7);
  EXPECT_EQ(row_length({3, 5}), 5);
  EXPECT_EQ(row_length({3, 5, 2}), 10);
}

}  // namespace
}  // namespace meshplan::formats
