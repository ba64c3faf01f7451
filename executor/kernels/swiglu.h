#pragma once

#include <ATen/core/Tensor.h>

/// The gated feed-forward unit (Shazeer 2020, arXiv 2002.05202): act = silu(gate) * up.
/// gate_up [T, 2f] holds gate in its first f columns and up in the others; act and grad_act are [T,
/// f].
namespace meshplan::executor {

void swiglu(const at::Tensor& gate_up, const at::Tensor& act);

/// gate_up becomes its own gradient.
void swiglu_backward(const at::Tensor& gate_up, const at::Tensor& grad_act);

}  // namespace meshplan::executor
