#pragma once

#include "executor/data/sample_source.h"
#include "formats/row_dataset.h"

namespace meshplan::executor {

/// Made-up rows for benchmarks: each number is a function of seed, sample and place alone, so a
/// sample is the same on every mesh and machine. It is the sum of four uniform numbers (Irwin 1927,
/// Hall 1927) with mean 0 and variance 1: nearly normal, exact, and fast.
class SyntheticRows : public RowSource {
 public:
  static constexpr std::int64_t kCount = 65'536;

  SyntheticRows(std::uint64_t seed, std::int64_t width) : seed_(seed), width_(width) {}

  std::int64_t count() const override { return kCount; }
  std::int64_t width() const override { return width_; }
  void fill(std::int64_t index, std::span<float> rows) const override;
  std::string name() const override { return "synthetic"; }
  std::string describe() const override;

 private:
  std::uint64_t seed_;
  std::int64_t width_;
};

/// The rows of a file, in its order, `seq_length` to a sample; what is left over is left out.
class DatasetRows : public RowSource {
 public:
  /// `dataset` outlives the samples; it has rows of `width` numbers.
  DatasetRows(const formats::RowDataset& dataset, std::int64_t width, std::int64_t seq_length)
      : dataset_(dataset), width_(width), seq_length_(seq_length) {}

  std::int64_t count() const override { return dataset_.count() / seq_length_; }
  std::int64_t width() const override { return width_; }
  void fill(std::int64_t index, std::span<float> rows) const override;
  std::string name() const override { return dataset_.path().string(); }
  std::string describe() const override;

 private:
  const formats::RowDataset& dataset_;
  std::int64_t width_;
  std::int64_t seq_length_;
};

}  // namespace meshplan::executor
