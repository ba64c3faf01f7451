#pragma once

#include <cstdint>
#include <string>

namespace meshplan::executor {

/// How the learning rate goes from its peak, after the warm-up, to its minimum.
enum class LearningRateShape {
  kConstant,
  kLinear,
  /// Half a cosine (Loshchilov, Hutter 2017, arXiv 1608.03983).
  kCosine,
  /// Stays at the peak, then falls linearly (Hu et al. 2024, arXiv 2404.06395).
  kWarmupStableDecay,
};

/// "constant", "linear", "cosine", "wsd".
const char* to_string(LearningRateShape shape);
/// Throws kInvalidInput, naming `where` and the allowed names.
LearningRateShape parse_learning_rate_shape(const std::string& name, const std::string& where);

struct LearningRateSchedule {
  LearningRateShape shape = LearningRateShape::kConstant;
  double peak = 1e-5;
  /// Where linear, cosine and wsd end.
  double minimum = 0;
  std::int64_t warmup_steps = 0;
  /// Steps of the fall; 0: all after the warm-up, for wsd a tenth of the run. Linear and cosine
  /// fall right after the warm-up and stay at the minimum from then on; wsd falls at the run's end.
  std::int64_t decay_steps = 0;
};

/// The learning rate of step `step`, counted from 0, in a run of `total_steps`. The warm-up rises
/// by equal steps, peak (step + 1) / (warmup_steps + 1), and reaches the peak on the first step
/// behind it. A fall begins at the peak and would be at the minimum on the first step behind it, so
/// that no step of the run is wasted on a minimum of 0.
double learning_rate(const LearningRateSchedule& schedule, std::int64_t step,
                     std::int64_t total_steps);

/// The schedule where it can be run; throws kInvalidInput, naming the flag, for a negative number,
/// a minimum above the peak, or a warm-up and a decay that together are longer than the run.
LearningRateSchedule checked(const LearningRateSchedule& schedule, std::int64_t total_steps);

}  // namespace meshplan::executor
