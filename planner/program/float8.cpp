#include "planner/program/float8.h"

#include <vector>

#include "planner/program/operation_list.h"

namespace meshplan::planner {
namespace {

/// What torch's scaled matrix multiply wants every dimension to be a multiple of.
constexpr std::int64_t kFloat8Multiple = 16;

bool fits_float8(const Operation& operation) {
  return operation.kind == OperationKind::kKernel && operation.kernel == KernelKind::kMatmul &&
         operation.m % kFloat8Multiple == 0 && operation.n % kFloat8Multiple == 0 &&
         operation.k % kFloat8Multiple == 0;
}

void cast(OperationList& list, const StepContext& c, std::int64_t elements) {
  list.elementwise("largest magnitude", elements * c.param_size);
  list.elementwise("cast to float8", elements * (c.param_size + 1));
}

void multiply(OperationList& list, const StepContext& c, Operation matmul) {
  const std::int64_t first = matmul.m * matmul.k;
  const std::int64_t second = matmul.k * matmul.n;
  list.allocate("float8 operands", MemoryClass::kTemporaries, first + second);
  cast(list, c, first);
  cast(list, c, second);
  matmul.float8 = true;
  matmul.bytes = common::Bytes(first + second + matmul.m * matmul.n * c.param_size);
  list.append(matmul);
  list.free("float8 operands", MemoryClass::kTemporaries, first + second);
}

}  // namespace

Operations in_float8(const StepContext& context, const Operations& operations) {
  OperationList list;
  std::vector<std::int32_t> moved_to(operations.size(), kNoOperation);
  for (std::size_t i = 0; i < operations.size(); ++i) {
    Operation operation = operations[i];
    if (fits_float8(operation)) {
      multiply(list, context, operation);
      continue;
    }
    if (operation.kind == OperationKind::kWait)
      operation.awaited = moved_to[static_cast<std::size_t>(operation.awaited)];
    moved_to[i] = list.append(operation);
  }
  return list.take();
}

}  // namespace meshplan::planner
