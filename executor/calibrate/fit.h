#pragma once

#include <vector>

namespace meshplan::executor {

/// What was measured at one size, of work that has its fixed part `steps` times.
struct Measurement {
  double size;
  double seconds;
  double steps = 1;
  /// What the seconds may be off by.
  double noise = 0;
};

/// seconds = steps * fixed + size / rate.
struct LineFit {
  double fixed;
  double rate;
};

/// Least squares of the relative error (each point weighted by 1 / (seconds + noise)^2, so that
/// small and large sizes count alike, but what is lost in noise does not), with fixed >= 0 and rate
/// > 0. Requires at least one point of positive size and time.
LineFit fit_line(const std::vector<Measurement>& points);

}  // namespace meshplan::executor
