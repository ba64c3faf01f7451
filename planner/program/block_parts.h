#pragma once

#include "planner/program/operation_list.h"
#include "planner/program/step_context.h"

namespace meshplan::planner {

/// Bytes of one microbatch's activations on one rank. Statistics (reciprocal norms, log-sum-exps)
/// are float32.
struct ActivationSizes {
  /// [T, h], and the rank's share of its rows under sequence parallelism.
  std::int64_t hidden;
  std::int64_t residual;
  std::int64_t qkv;
  std::int64_t queries;
  std::int64_t rotated;
  std::int64_t log_sum_exp;
  std::int64_t gate_up;
  std::int64_t gated;
  std::int64_t norm_statistics;
};
ActivationSizes activation_sizes(const StepContext& c);

/// Rows of gate and up in one matrix, or of up alone, for this width.
std::int64_t up_rows(const StepContext& c, std::int64_t width);

bool has_tp(const StepContext& c);

/// Nothing without tp.
void all_reduce_tp(OperationList& list, const StepContext& c, const char* name, std::int64_t bytes);

/// The sum over tp of a row-parallel product [T, width]: in place, or as the rank's share of its
/// rows beside it, after which the product dies.
struct RowSum {
  const char* name;
  /// The class of the result.
  MemoryClass memory;
  std::int64_t width;

  void allocate_product(OperationList& list, const StepContext& c) const;
  void issue(OperationList& list, const StepContext& c) const;
  void finish(OperationList& list, const StepContext& c) const;
};

/// What column-parallel layers read, whole on every rank: a norm's output, or the residual stream
/// itself where it has no norm before them. Under sequence parallelism it is gathered from the
/// ranks' shares.
struct LayerInput {
  const char* norm;
  const char* norm_backward;
  const char* statistics;
  bool normed;

  std::int64_t statistics_bytes(const StepContext& c) const;
  /// Allocates what the norm saves.
  void save_statistics(OperationList& list, const StepContext& c) const;
  void forget_statistics(OperationList& list, const StepContext& c) const;

  void read(OperationList& list, const StepContext& c) const;
  void release(OperationList& list, const StepContext& c) const;

  /// read() in two parts, with other work between them: the gathering is issued, and waited for by
  /// its index among the operations.
  std::int32_t prefetch(OperationList& list, const StepContext& c) const;
  void arrive(OperationList& list, const StepContext& c, std::int32_t prefetched) const;
};

/// The gradient [T, width] of what a row-parallel layer wrote, whole on every rank while its
/// backward pass reads it: gathered from the ranks' shares under sequence parallelism.
void gather_gradient(OperationList& list, const StepContext& c, std::int64_t width);
void free_gathered_gradient(OperationList& list, const StepContext& c, std::int64_t width);

}  // namespace meshplan::planner
