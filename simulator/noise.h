#pragma once

#include <cstdint>

#include "simulator/simulated_time.h"

namespace meshplan::simulator {

/// Random factors around 1 of a given relative standard deviation: normal numbers, made of integers
/// alone, so that they are the same on every machine and by every compiler. One is drawn by its
/// place, not by its turn, so none depends on the order of drawing.
class Noise {
 public:
  /// The largest standard deviation: further numbers than 6 of it are never drawn, so every factor
  /// is at least a tenth.
  static constexpr Millionths kMaxSpread = 150'000;

  /// Requires 0 <= spread <= kMaxSpread. `what` tells series of one seed apart.
  Noise(std::uint64_t seed, std::uint64_t what, Millionths spread)
      : key_(mixed(seed ^ mixed(what + 1))), spread_(spread) {}

  bool is_silent() const { return spread_ == 0; }

  Millionths factor(std::uint64_t place) const {
    if (is_silent()) return kOne;
    return kOne + ((spread_ * normal(place)) >> kFractionBits);
  }

 private:
  static constexpr int kFractionBits = 32;

  /// Of mean 0 and standard deviation 1, times 2^32: the sum of 12 uniform numbers (Irwin and Hall
  /// 1927).
  std::int64_t normal(std::uint64_t place) const {
    std::uint64_t state = mixed(key_ + place);
    std::int64_t sum = 0;
    for (int draw = 0; draw < 6; ++draw) {
      state = mixed(state);
      sum += static_cast<std::int64_t>(state & 0xffffffff) + static_cast<std::int64_t>(state >> 32);
    }
    return sum - 6 * (std::int64_t{1} << kFractionBits);
  }

  /// SplitMix64's step and finaliser (Steele, Lea, Flood 2014).
  static constexpr std::uint64_t mixed(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }

  std::uint64_t key_;
  Millionths spread_;
};

}  // namespace meshplan::simulator
