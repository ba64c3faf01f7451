#include "executor/layers/linear.h"

#include <ATen/ATen.h>

#include "executor/memory/counting_allocator.h"

namespace meshplan::executor {

void linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
            const at::Tensor& out) {
  at::Tensor target = out;
  const LibraryScope scratch;
  if (bias.defined()) {
    at::addmm_out(target, bias, x, weight.t());
  } else {
    at::mm_out(target, x, weight.t());
  }
}

void linear_backward_input(const at::Tensor& grad_out, const at::Tensor& weight,
                           const at::Tensor& grad_x) {
  at::Tensor target = grad_x;
  const LibraryScope scratch;
  at::mm_out(target, grad_out, weight);
}

void linear_backward_weight(const at::Tensor& grad_out, const at::Tensor& x,
                            const at::Tensor& grad_weight) {
  at::Tensor target = grad_weight;
  const LibraryScope scratch;
  at::mm_out(target, grad_out.t(), x);
}

void add_linear_backward_weight(const at::Tensor& grad_out, const at::Tensor& x,
                                const at::Tensor& grad_weight) {
  at::Tensor target = grad_weight;
  const LibraryScope scratch;
  at::addmm_out(target, target, grad_out.t(), x);
}

void linear_backward_bias(const at::Tensor& grad_out, const at::Tensor& grad_bias) {
  if (!grad_bias.defined()) return;
  at::Tensor target = grad_bias;
  at::sum_out(target, grad_out, 0);
}

}  // namespace meshplan::executor
