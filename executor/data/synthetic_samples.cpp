#include "executor/data/synthetic_samples.h"

#include <fmt/format.h>

namespace meshplan::executor {
namespace {

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number
/// generators").
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

std::int64_t SyntheticSamples::fill(std::int64_t index, std::span<std::int64_t> tokens,
                                    std::span<std::int64_t> labels) const {
  const std::uint64_t stream = mix(mix(seed_) + static_cast<std::uint64_t>(index) + 1);
  for (std::size_t i = 0; i <= tokens.size(); ++i) {
    const auto token =
        static_cast<std::int64_t>(mix(stream + 0x9e3779b97f4a7c15ULL * (i + 1)) % vocab_size_);
    if (i < tokens.size()) tokens[i] = token;
    if (i > 0) labels[i - 1] = token;
  }
  return static_cast<std::int64_t>(labels.size());
}

std::string SyntheticSamples::describe() const { return fmt::format("{} samples", kCount); }

}  // namespace meshplan::executor
