#include "executor/data/synthetic_samples.h"

#include <fmt/format.h>

#include "executor/data/split_mix.h"

namespace meshplan::executor {

std::int64_t SyntheticSamples::fill(std::int64_t index, std::span<std::int64_t> tokens,
                                    std::span<std::int64_t> labels) const {
  const std::uint64_t stream = sample_stream(seed_, index);
  for (std::size_t i = 0; i <= tokens.size(); ++i) {
    const auto token =
        static_cast<std::int64_t>(split_mix(stream + kSplitMixStep * (i + 1)) % vocab_size_);
    if (i < tokens.size()) tokens[i] = token;
    if (i > 0) labels[i - 1] = token;
  }
  return static_cast<std::int64_t>(labels.size());
}

std::string SyntheticSamples::describe() const { return fmt::format("{} samples", kCount); }

}  // namespace meshplan::executor
