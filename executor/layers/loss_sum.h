#pragma once

#include <ATen/core/Tensor.h>

namespace meshplan::executor {

/// Adds numbers up in double; on a GPU without waiting for it until the value is asked for.
class LossSum {
 public:
  /// Any shape, contiguous.
  void add(const at::Tensor& losses);
  double value() const;

 private:
  double on_host_ = 0;
  at::Tensor on_device_;
};

}  // namespace meshplan::executor
