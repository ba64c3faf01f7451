#pragma once

#include "executor/data/sample_source.h"

namespace meshplan::executor {

/// Made-up tokens for benchmarks, without a file: each is a function of seed, sample and position
/// alone, so a sample is the same on every mesh. Tokens are uniform over the vocabulary.
class SyntheticSamples : public SampleSource {
 public:
  static constexpr std::int64_t kCount = 65'536;

  SyntheticSamples(std::uint64_t seed, std::int64_t vocab_size)
      : seed_(seed), vocab_size_(static_cast<std::uint64_t>(vocab_size)) {}

  std::int64_t count() const override { return kCount; }
  std::int64_t fill(std::int64_t index, std::span<std::int64_t> tokens,
                    std::span<std::int64_t> labels) const override;
  std::string name() const override { return "synthetic"; }
  std::string describe() const override;

 private:
  std::uint64_t seed_;
  std::uint64_t vocab_size_;
};

}  // namespace meshplan::executor
