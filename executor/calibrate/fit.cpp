#include "executor/calibrate/fit.h"

#include <algorithm>

namespace meshplan::executor {

LineFit fit_line(const std::vector<Measurement>& points) {
  double ss = 0;
  double sx = 0;
  double sy = 0;
  double xx = 0;
  double xy = 0;
  for (const auto& [size, seconds, steps, noise] : points) {
    const double weight = 1 / ((seconds + noise) * (seconds + noise));
    ss += weight * steps * steps;
    sx += weight * steps * size;
    sy += weight * steps * seconds;
    xx += weight * size * size;
    xy += weight * size * seconds;
  }
  const double determinant = ss * xx - sx * sx;
  const double slope = determinant > 0 ? (ss * xy - sx * sy) / determinant : 0;
  const double fixed = (sy - slope * sx) / ss;
  if (slope > 0 && fixed >= 0) return {fixed, 1 / slope};
  // A negative constant, or no growth: a line through the origin, or a constant with the rate of
  // the largest size.
  if (fixed < 0) return {0, xx / xy};
  const auto largest =
      std::max_element(points.begin(), points.end(),
                       [](const Measurement& a, const Measurement& b) { return a.size < b.size; });
  return {sy / ss, largest->size / largest->seconds};
}

}  // namespace meshplan::executor
