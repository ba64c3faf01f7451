#include "executor/calibrate/rank_timer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>

namespace meshplan::executor {
namespace {

constexpr int kWindows = 3;
constexpr double kWindowSeconds = 0.06;
/// Of work between two looks at the clock, where a device is waited for.
constexpr double kBatchSeconds = 0.001;
constexpr int kMostCalls = 2000;

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

int calls_within(double seconds, double each) {
  return static_cast<int>(
      std::clamp(seconds / std::max(each, 1e-9), 1.0, static_cast<double>(kMostCalls)));
}

}  // namespace

RankTimer::RankTimer(const Communicator& everyone, c10::Device device)
    : everyone_(everyone.unlogged()), device_(device) {}

double RankTimer::mean(double value) const {
  const at::Tensor sum = at::full({1}, value, at::TensorOptions(at::kDouble).device(device_));
  everyone_.all_reduce(sum, ReduceOp::kSum).wait();
  return sum.item<double>() / static_cast<double>(everyone_.size());
}

double RankTimer::longest(double value) const {
  const at::Tensor most = at::full({1}, value, at::TensorOptions(at::kDouble).device(device_));
  everyone_.all_reduce(most, ReduceOp::kMax).wait();
  return most.item<double>();
}

void RankTimer::synchronize() const {
  if (!device_.is_cpu()) at::zeros({1}, device_).item<float>();
}

double RankTimer::seconds_of(int calls, const std::function<void()>& call) const {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) call();
  synchronize();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double RankTimer::seconds_alone(const std::function<void()>& call) const {
  seconds_of(1, call);
  const double once = mean(seconds_of(1, call));
  const int batch = calls_within(kBatchSeconds, once);
  // One call that is as long as a window, or longer, tells as much.
  const int count = once > kWindowSeconds ? 1 : kWindows;
  std::vector<double> windows;
  for (int window = 0; window < count; ++window) {
    barrier();
    double calls = 0;
    double elapsed = 0;
    while (elapsed < kWindowSeconds) {
      elapsed += seconds_of(batch, call);
      calls += batch;
    }
    // What all ranks together got done until the last one was: of long calls that share a link,
    // some end early, and the others have it to themselves.
    windows.push_back(longest(elapsed) / mean(calls));
  }
  return median(windows);
}

double RankTimer::seconds_together(const std::function<void()>& call) const {
  barrier();
  const double each = mean(seconds_of(3, call)) / 3;
  const int calls = std::max(3, calls_within(kWindowSeconds, each));
  barrier();
  return mean(seconds_of(calls, call)) / calls;
}

}  // namespace meshplan::executor
