#include "executor/data/row_samples.h"

#include <fmt/format.h>

#include "executor/data/split_mix.h"

namespace meshplan::executor {
namespace {

/// The sum of the four 16-bit numbers in `bits`, shifted and scaled to mean 0 and variance 1: each
/// is uniform over 0 .. n - 1, n = 2^16, with mean (n - 1) / 2 and variance (n^2 - 1) / 12.
float nearly_normal(std::uint64_t bits) {
  constexpr std::int32_t kMean = 2 * 0xffff;
  // 1 / sqrt(4 (2^32 - 1) / 12).
  constexpr double kScale = 2.6428997921303014e-05;
  const auto sum = static_cast<std::int32_t>((bits & 0xffff) + (bits >> 16 & 0xffff) +
                                             (bits >> 32 & 0xffff) + (bits >> 48));
  return static_cast<float>(kScale * (sum - kMean));
}

}  // namespace

void SyntheticRows::fill(std::int64_t index, std::span<float> rows) const {
  const std::uint64_t stream = sample_stream(seed_, index);
  for (std::size_t i = 0; i < rows.size(); ++i)
    rows[i] = nearly_normal(split_mix(stream + kSplitMixStep * (i + 1)));
}

std::string SyntheticRows::describe() const { return fmt::format("{} samples", kCount); }

void DatasetRows::fill(std::int64_t index, std::span<float> rows) const {
  dataset_.read(index * seq_length_, rows);
}

std::string DatasetRows::describe() const {
  return fmt::format("{} rows are {} samples of {}", dataset_.count(), count(), seq_length_);
}

}  // namespace meshplan::executor
