#include "tests/executor/parity.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

namespace meshplan::executor {
namespace {

/// The shapes are small: more threads would only wait for each other.
class OneThread : public testing::Environment {
 public:
  void SetUp() override { at::set_num_threads(1); }
};
[[maybe_unused]] const auto* const one_thread = testing::AddGlobalTestEnvironment(new OneThread);

}  // namespace

Parity::~Parity() {
  for (const Worst& worst : worst_) {
    std::printf("%s: largest relative difference %.2e, tolerance %.1e\n", name_.c_str(),
                worst.difference, worst.tolerance);
  }
}

void Parity::expect_close(const at::Tensor& actual, const at::Tensor& expected, double tolerance,
                          const char* what) {
  ASSERT_EQ(actual.sizes(), expected.sizes()) << name_ << ' ' << what;
  const at::Tensor exact = expected.to(at::kDouble);
  const double scale = std::max(exact.abs().max().item<double>(), 1e-30);
  const double difference = (actual.to(at::kDouble) - exact).abs().max().item<double>() / scale;
  // Written so that NaN fails.
  EXPECT_TRUE(difference <= tolerance) << name_ << ' ' << what << ": " << difference << " > "
                                       << tolerance << " for a tensor " << actual.sizes();
  auto place = std::find_if(worst_.begin(), worst_.end(),
                            [&](const Worst& w) { return w.tolerance >= tolerance; });
  if (place == worst_.end() || place->tolerance != tolerance)
    place = worst_.insert(place, {0, tolerance});
  place->difference = std::max(place->difference, difference);
}

}  // namespace meshplan::executor
