#include "executor/optim/learning_rate.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "common/error.h"

namespace meshplan::executor {
namespace {

constexpr std::array kShapes = {LearningRateShape::kConstant, LearningRateShape::kLinear,
                                LearningRateShape::kCosine, LearningRateShape::kWarmupStableDecay};

/// The first step of the fall, and its length, which is at least 1.
struct Fall {
  std::int64_t begin;
  std::int64_t steps;
};

Fall fall_of(const LearningRateSchedule& schedule, std::int64_t total_steps) {
  const std::int64_t after_warmup = std::max<std::int64_t>(1, total_steps - schedule.warmup_steps);
  if (schedule.shape != LearningRateShape::kWarmupStableDecay) {
    return {schedule.warmup_steps, schedule.decay_steps > 0 ? schedule.decay_steps : after_warmup};
  }
  const std::int64_t tenth = std::max<std::int64_t>(1, total_steps / 10);
  const std::int64_t steps =
      schedule.decay_steps > 0 ? schedule.decay_steps : std::min(tenth, after_warmup);
  return {total_steps - steps, steps};
}

/// How much of the way from minimum to peak is left when `done`, from 0 to 1, of the fall is.
double height(LearningRateShape shape, double done) {
  switch (shape) {
    case LearningRateShape::kConstant:
      return 1;
    case LearningRateShape::kCosine:
      return 0.5 * (1 + std::cos(std::numbers::pi * done));
    case LearningRateShape::kLinear:
    case LearningRateShape::kWarmupStableDecay:
      return 1 - done;
  }
  return 1;
}

[[noreturn]] void refuse(const std::string& message, const char* flag) {
  throw common::Error(common::ErrorCode::kInvalidInput, message, flag);
}

}  // namespace

const char* to_string(LearningRateShape shape) {
  switch (shape) {
    case LearningRateShape::kConstant:
      return "constant";
    case LearningRateShape::kLinear:
      return "linear";
    case LearningRateShape::kCosine:
      return "cosine";
    case LearningRateShape::kWarmupStableDecay:
      return "wsd";
  }
  return "unknown";
}

LearningRateShape parse_learning_rate_shape(const std::string& name, const std::string& where) {
  for (const LearningRateShape shape : kShapes) {
    if (name == to_string(shape)) return shape;
  }
  throw common::Error(common::ErrorCode::kInvalidInput,
                      fmt::format("unknown value '{}'; use constant, linear, cosine or wsd", name),
                      where);
}

double learning_rate(const LearningRateSchedule& schedule, std::int64_t step,
                     std::int64_t total_steps) {
  if (step < schedule.warmup_steps) {
    return schedule.peak * static_cast<double>(step + 1) /
           (static_cast<double>(schedule.warmup_steps) + 1);
  }
  const Fall fall = fall_of(schedule, total_steps);
  const double done = std::clamp(
      static_cast<double>(step - fall.begin) / static_cast<double>(fall.steps), 0.0, 1.0);
  return schedule.minimum + (schedule.peak - schedule.minimum) * height(schedule.shape, done);
}

LearningRateSchedule checked(const LearningRateSchedule& schedule, std::int64_t total_steps) {
  if (schedule.warmup_steps < 0 || schedule.decay_steps < 0)
    refuse(fmt::format("{}: must be at least 0",
                       std::min(schedule.warmup_steps, schedule.decay_steps)),
           "--warmup-steps, --decay-steps");
  if (schedule.shape == LearningRateShape::kConstant) return schedule;
  if (!(schedule.minimum >= 0 && schedule.minimum <= schedule.peak)) {
    refuse(fmt::format("{}: must be from 0 to --learning-rate {}", schedule.minimum, schedule.peak),
           "--min-learning-rate");
  }
  const bool falls_at_the_end = schedule.shape == LearningRateShape::kWarmupStableDecay;
  if (falls_at_the_end && schedule.warmup_steps > total_steps - schedule.decay_steps) {
    refuse(fmt::format("warm-up {} and decay {} are longer than the run's {} steps; use fewer, or "
                       "more --steps",
                       schedule.warmup_steps, schedule.decay_steps, total_steps),
           "--warmup-steps, --decay-steps");
  }
  return schedule;
}

}  // namespace meshplan::executor
