#pragma once

#include <cmath>
#include <cstdint>

namespace meshplan::simulator {

/// Simulated time. Sums of it are exact, so equal inputs give equal results everywhere.
using Picoseconds = std::int64_t;

/// A factor of a duration, in millionths: a decimal like 1.1 is exact.
using Millionths = std::int64_t;
inline constexpr Millionths kOne = 1'000'000;

inline Millionths millionths(double factor) {
  return static_cast<Millionths>(std::llround(factor * static_cast<double>(kOne)));
}

/// `time` times `factor`, rounded to the nearest picosecond; `time` itself for kOne. Requires that
/// neither is negative and that the product fits.
constexpr Picoseconds scaled(Picoseconds time, Millionths factor) {
  return time / kOne * factor + (time % kOne * factor + kOne / 2) / kOne;
}

constexpr double seconds(Picoseconds time) { return static_cast<double>(time) / 1e12; }

}  // namespace meshplan::simulator
