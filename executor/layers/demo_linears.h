#pragma once

#include <ATen/core/Tensor.h>

#include "executor/layers/tensor_parallel.h"

/// The three linear layers of the feed-forward demo, y = w2(silu(w1 x) * w3 x), whose loss is the
/// sum of y. On one tp rank w1 and w3 are [f, h] and w2 is [h, f], f its part of the intermediate
/// size; x [T, h] is the same on all. Saved: gate_up [T, 2f], the outputs of w1 and w3 side by
/// side. Allocations and collectives, in their order, are what planner::expand_feed_forward() says.
namespace meshplan::executor {

/// gate_up, its first half written.
at::Tensor project_gate(const at::Tensor& x, const at::Tensor& w1);

/// Writes its second half.
void project_up(const at::Tensor& x, const at::Tensor& w3, const at::Tensor& gate_up);

/// What there is to do beside the sum of the outputs.
struct OutputGradient {
  /// Overwritten with the gradient of w2; undefined: forward only.
  at::Tensor w2;
  /// The gradient is that of scale x the sum.
  double scale = 1;
};

/// The sum of y over all rows; gate_up becomes its own gradient. One all-reduce of y over tp,
/// beside the backward pass, which does not depend on it.
double sum_outputs(const at::Tensor& gate_up, const at::Tensor& w2, const OutputGradient& gradient,
                   const TensorParallel& tp);

/// The gradients [f, h] of w3 and w1, from that of gate_up. x needs none.
void backward_up(const at::Tensor& x, const at::Tensor& gate_up, const at::Tensor& grad_w3);
void backward_gate(const at::Tensor& x, const at::Tensor& gate_up, const at::Tensor& grad_w1);

}  // namespace meshplan::executor
