#include "executor/optim/loss_scale.h"

#include "common/error.h"

namespace meshplan::executor {
namespace {

// As torch's GradScaler.
constexpr std::int64_t kGrowthInterval = 2000;
constexpr double kLargest = 0x1p24;

}  // namespace

LossScale next_scale(LossScale scale, bool finite) {
  if (!finite) {
    if (scale.scale <= 1) {
      throw common::Error(
          common::ErrorCode::kDiverged,
          "gradients are not finite even with a loss scale of 1; lower the learning "
          "rate, clip gradients (--max-grad-norm) or use --param-dtype float32",
          "training");
    }
    return {.scale = scale.scale / 2, .good_steps = 0, .skipped = scale.skipped + 1};
  }
  if (++scale.good_steps == kGrowthInterval) {
    scale.good_steps = 0;
    if (scale.scale < kLargest) scale.scale *= 2;
  }
  return scale;
}

}  // namespace meshplan::executor
