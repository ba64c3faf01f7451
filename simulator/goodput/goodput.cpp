#include "simulator/goodput/goodput.h"

#include <algorithm>
#include <cmath>

namespace meshplan::simulator {
namespace {

using common::Seconds;

double mean_time(const FailureModel& model) { return 1 / failure_rate(model); }

/// The u in (0, 1) of exp(u + c) (1 - u) = 1: u = rate x interval, c = rate x blocking time. The
/// left side falls from exp(c) to 0.
double best_share(double c) {
  double low = 0;
  double high = 1;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (std::exp(middle + c) * (1 - middle) > 1 ? low : high) = middle;
  }
  return (low + high) / 2;
}

}  // namespace

double failure_rate(const FailureModel& model) {
  const auto rate = [](std::int64_t parts, Seconds mtbf) {
    return mtbf.value > 0 ? static_cast<double>(parts) / mtbf.value : 0;
  };
  return rate(model.gpus, model.gpu_mtbf) + rate(model.nodes, model.node_mtbf);
}

common::Seconds young_interval(const FailureModel& model) {
  return Seconds(std::sqrt(2 * model.checkpoint_blocking.value * mean_time(model)));
}

common::Seconds daly_interval(const FailureModel& model) {
  const double m = mean_time(model);
  const double c = model.checkpoint_blocking.value;
  if (c >= 2 * m) return Seconds(m);
  const double x = std::sqrt(c / (2 * m));
  return Seconds(std::sqrt(2 * c * m) * (1 + x / 3 + x * x / 9) - c);
}

common::Seconds best_interval(const FailureModel& model, Seconds longest) {
  const double rate = failure_rate(model);
  if (rate == 0) return longest;
  const double best = best_share(rate * model.checkpoint_blocking.value) / rate;
  const double least = model.checkpoint_async.value - model.checkpoint_blocking.value;
  // Without a blocking part the optimum is to write all the time; a second keeps it above nothing.
  return std::min(longest, Seconds(std::max({best, least, 1.0})));
}

Goodput expected_goodput(const FailureModel& model, Seconds interval) {
  const double rate = failure_rate(model);
  const double blocking = model.checkpoint_blocking.value;
  const double segment = interval.value + blocking;
  const double down = (model.detection + model.restart).value;
  const double async = model.checkpoint_async.value;
  if (rate == 0) return {.useful = interval.value / segment, .checkpoints = blocking / segment};
  const double wall = std::exp(rate * (async + down)) * std::expm1(rate * segment) / rate;
  Goodput goodput{.useful = interval.value / wall, .checkpoints = blocking / wall};
  // Of each 1 / rate of time up on average, a failure costs (exp(rate x down) - 1) / rate of
  // downtime: both together are exp(rate x down) / rate.
  goodput.down = -std::expm1(-rate * down);
  goodput.rework = std::max(0.0, 1 - goodput.useful - goodput.checkpoints - goodput.down);
  return goodput;
}

double expected_failures(const FailureModel& model, Seconds time) {
  return failure_rate(model) * time.value;
}

common::Seconds write_time(common::Bytes checkpoint, common::BytesPerSecond storage) {
  return checkpoint / storage;
}

}  // namespace meshplan::simulator
