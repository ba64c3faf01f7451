#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace meshplan::executor {

/// Compares tensors of one test, and prints when it is destroyed the largest difference met under
/// each tolerance. Differences are relative to the largest magnitude of the expected tensor.
class Parity {
 public:
  explicit Parity(std::string name) : name_(std::move(name)) {}
  ~Parity();
  Parity(const Parity&) = delete;
  Parity& operator=(const Parity&) = delete;

  /// Fails the test where a value is not finite, or differs by more than the tolerance.
  void expect_close(const at::Tensor& actual, const at::Tensor& expected, double tolerance,
                    const char* what = "");

 private:
  struct Worst {
    double difference = 0;
    double tolerance = 0;
  };

  std::string name_;
  /// By tolerance in ascending order: one for each type compared, as a rule.
  std::vector<Worst> worst_;
};

}  // namespace meshplan::executor
