#pragma once

#include <cstdint>

namespace meshplan::executor {

/// The factor that keeps float16 gradients from vanishing (Micikevicius et al. 2018, arXiv
/// 1710.03740): losses are multiplied by it, gradients divided before the update, and a step whose
/// gradients are not finite is left out. Doubles after 2000 steps in a row that were, halves after
/// one that was not. Part of a run's state.
struct LossScale {
  double scale = 65536;
  /// Updates since the scale last changed.
  std::int64_t good_steps = 0;
  /// Steps that were left out.
  std::int64_t skipped = 0;

  bool operator==(const LossScale&) const = default;
};

/// The scale for the next step. Throws kDiverged where gradients are not finite at the smallest
/// scale, 1.
LossScale next_scale(LossScale scale, bool finite);

}  // namespace meshplan::executor
