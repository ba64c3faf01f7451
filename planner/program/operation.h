#pragma once

#include <cstdint>
#include <vector>

#include "common/units.h"
#include "planner/cluster/cluster_spec.h"
#include "planner/layout/device_mesh.h"
#include "planner/program/step_program.h"

namespace meshplan::planner {

/// What device memory is held for; the keys of the estimate's memory breakdown.
enum class MemoryClass {
  kParameters,
  kGradients,
  kOptimizer,
  kGatheredParameters,
  kActivations,
  kLogits,
  kCommunicationBuffers,
  kTemporaries,
};
inline constexpr std::size_t kMemoryClasses = 8;
const char* to_string(MemoryClass memory);

/// kKernel runs on the compute stream. kCollective runs on its own stream beside compute, once the
/// compute work issued before it has ended. kWait: compute goes on when an earlier collective of
/// the same instruction has ended.
enum class OperationKind { kKernel, kCollective, kWait, kAllocate, kFree };

/// kMatmul [m, k] x [k, n], of which a grouped multiply does `groups` of the same shape in one
/// kernel; kAttention, priced by FLOPs too; kElementwise, priced by the bytes that it reads and
/// writes; kHostCopy, by bytes between device and host; kHostUpdate, by the bytes that the host
/// reads and writes while the device waits.
enum class KernelKind { kMatmul, kAttention, kElementwise, kHostCopy, kHostUpdate };

/// No operation.
inline constexpr std::int32_t kNoOperation = -1;

/// One thing that happens inside an instruction, in the order of issue.
struct Operation {
  OperationKind kind = OperationKind::kKernel;
  Stream stream = Stream::kCompute;
  const char* name = "";
  /// kWait: the collective's index among the instruction's operations.
  std::int32_t awaited = kNoOperation;

  KernelKind kernel = KernelKind::kElementwise;
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  std::int64_t groups = 1;
  common::Flops flops;
  /// kMatmul: its operands are float8, and not of param_dtype.
  bool float8 = false;

  CollectiveKind collective = CollectiveKind::kAllReduce;
  Axis axis = Axis::kTp;

  MemoryClass memory = MemoryClass::kTemporaries;

  /// kernel: bytes moved to and from memory; collective: all_reduce the tensor, all_gather its
  /// output, reduce_scatter its input, all_to_all what it sends; allocate and free: the size.
  common::Bytes bytes;
};

/// The ordered operations inside an instruction.
using Operations = std::vector<Operation>;

}  // namespace meshplan::planner
