#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "planner/program/operation.h"
#include "planner/program/step_context.h"

namespace meshplan::executor {

/// A kernel of a training step, ready to be run as the executor's layers run it.
struct KernelWork {
  /// As the program has it; of the optimizer, whose kernels go over all parameters, at most what
  /// 2^24 of them are.
  planner::Operation operation;
  /// How often a step has it.
  double share = 0;
  /// Operands are there already; one call is one kernel.
  std::function<void()> run;
};

/// The kernels of a step of this context's model and layout that take time worth measuring: each
/// once, with random operands of `type`. Weights and their gradients change from call to call, as
/// they do from block to block, so that they come from memory where a step's do.
std::vector<KernelWork> step_kernels(const planner::StepContext& context, at::ScalarType type,
                                     at::Device device);

/// The smallest kernel there is, with the allocation of its output.
std::function<void()> smallest_kernel(at::Device device);

}  // namespace meshplan::executor
