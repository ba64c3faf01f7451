#pragma once

#include <cstdint>

namespace meshplan::executor {

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number
/// generators").
inline std::uint64_t split_mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// The stream of numbers of one sample: number i is split_mix(stream + i * kSplitMixStep).
inline std::uint64_t sample_stream(std::uint64_t seed, std::int64_t sample) {
  return split_mix(split_mix(seed) + static_cast<std::uint64_t>(sample) + 1);
}
inline constexpr std::uint64_t kSplitMixStep = 0x9e3779b97f4a7c15ULL;

}  // namespace meshplan::executor
