#include "executor/layers/loss_sum.h"

#include <ATen/ATen.h>

#include "executor/kernels/vector_loops.h"

namespace meshplan::executor {

void LossSum::add(const at::Tensor& losses) {
  if (!losses.is_cpu()) {
    const at::Tensor sum = losses.sum(at::kDouble);
    on_device_ = on_device_.defined() ? on_device_.add_(sum) : sum;
    return;
  }
  visit_elements(losses.scalar_type(), [&]<class T>() {
    for (std::int64_t i = 0; i < losses.numel(); ++i) {
      on_host_ += static_cast<double>(losses.const_data_ptr<T>()[i]);
    }
  });
}

double LossSum::value() const {
  return on_device_.defined() ? on_device_.item<double>() : on_host_;
}

}  // namespace meshplan::executor
