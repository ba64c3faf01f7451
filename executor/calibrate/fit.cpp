#include "executor/calibrate/fit.h"

#include <algorithm>

namespace meshplan::executor {

LineFit fit_line(const std::vector<Measurement>& points) {
  double w = 0;
  double wx = 0;
  double wy = 0;
  double wxx = 0;
  double wxy = 0;
  for (const auto& [size, seconds] : points) {
    const double weight = 1 / (seconds * seconds);
    w += weight;
    wx += weight * size;
    wy += weight * seconds;
    wxx += weight * size * size;
    wxy += weight * size * seconds;
  }
  const double determinant = w * wxx - wx * wx;
  const double slope = determinant > 0 ? (w * wxy - wx * wy) / determinant : 0;
  const double fixed = (wy - slope * wx) / w;
  if (slope > 0 && fixed >= 0) return {fixed, 1 / slope};
  // A negative constant, or no growth: a line through the origin, or a constant with the rate of
  // the largest size.
  if (fixed < 0) return {0, wxx / wxy};
  const auto largest =
      std::max_element(points.begin(), points.end(),
                       [](const Measurement& a, const Measurement& b) { return a.size < b.size; });
  return {wy / w, largest->size / largest->seconds};
}

}  // namespace meshplan::executor
