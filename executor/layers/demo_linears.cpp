#include "executor/layers/demo_linears.h"

#include <ATen/ATen.h>

#include <limits>
#include <utility>

#include "executor/kernels/swiglu.h"
#include "executor/layers/linear.h"
#include "executor/layers/loss_sum.h"

namespace meshplan::executor {
namespace {

at::Tensor gate_of(const at::Tensor& gate_up) { return gate_up.chunk(2, 1)[0]; }
at::Tensor up_of(const at::Tensor& gate_up) { return gate_up.chunk(2, 1)[1]; }

/// The number as the type has it: a loss scale may be beyond float16, and infinite gradients have
/// the step left out.
double within_range(double value, at::ScalarType type) {
  const bool overflows =
      type == at::kHalf && value > static_cast<double>(std::numeric_limits<c10::Half>::max());
  return overflows ? std::numeric_limits<double>::infinity() : value;
}

}  // namespace

at::Tensor project_gate(const at::Tensor& x, const at::Tensor& w1) {
  at::Tensor gate_up = at::empty({x.size(0), 2 * w1.size(0)}, x.options());
  linear(x, w1, /*bias=*/{}, gate_of(gate_up));
  return gate_up;
}

void project_up(const at::Tensor& x, const at::Tensor& w3, const at::Tensor& gate_up) {
  linear(x, w3, /*bias=*/{}, up_of(gate_up));
}

double sum_outputs(const at::Tensor& gate_up, const at::Tensor& w2, const OutputGradient& gradient,
                   const TensorParallel& tp) {
  at::Tensor act = at::empty({gate_up.size(0), w2.size(1)}, gate_up.options());
  swiglu(gate_up, act);
  at::Tensor output = at::empty({gate_up.size(0), w2.size(0)}, gate_up.options());
  linear(act, w2, /*bias=*/{}, output);
  RowSum summing(tp, std::move(output));
  if (gradient.w2.defined()) {
    at::Tensor grad =
        at::full({gate_up.size(0), w2.size(0)}, within_range(gradient.scale, gate_up.scalar_type()),
                 gate_up.options());
    linear_backward_weight(grad, act, gradient.w2);
    linear_backward_input(grad, w2, act);
    grad.reset();
    swiglu_backward(gate_up, act);
  }
  act.reset();
  LossSum loss;
  loss.add(summing.finish());
  return loss.value();
}

void backward_up(const at::Tensor& x, const at::Tensor& gate_up, const at::Tensor& grad_w3) {
  linear_backward_weight(up_of(gate_up), x, grad_w3);
}

void backward_gate(const at::Tensor& x, const at::Tensor& gate_up, const at::Tensor& grad_w1) {
  linear_backward_weight(gate_of(gate_up), x, grad_w1);
}

}  // namespace meshplan::executor
