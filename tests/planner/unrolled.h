#pragma once

#include <vector>

#include "planner/plan/plan.h"
#include "planner/program/expand.h"

namespace meshplan::planner {

/// A plan's step with every instruction expanded by itself: what the run-length encoded program has
/// to agree with.
struct UnrolledStep {
  StepContext context;
  std::vector<Instruction> instructions;
  std::vector<Operations> operations;
};

inline UnrolledStep unrolled_step(const Plan& plan, std::int64_t stage = 0) {
  UnrolledStep step{
      make_step_context(plan.model, plan.job, plan.layout, plan.cluster.device.kind, stage),
      unroll(build_program(plan.model, plan.job, plan.layout, stage)),
      {}};
  for (const Instruction& instruction : step.instructions) {
    step.operations.push_back(expand(step.context, instruction));
  }
  return step;
}

inline bool changes_memory(const Operation& operation) {
  return operation.kind == OperationKind::kAllocate || operation.kind == OperationKind::kFree;
}

/// Bytes that the operation adds to its class of memory; negative for a free.
inline common::Bytes memory_change(const Operation& operation) {
  return operation.kind == OperationKind::kAllocate ? operation.bytes : -operation.bytes;
}

}  // namespace meshplan::planner
