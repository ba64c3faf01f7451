#include "planner/program/operation_list.h"

#include "common/checked.h"

namespace meshplan::planner {

const char* to_string(MemoryClass memory) {
  switch (memory) {
    case MemoryClass::kParameters:
      return "parameters";
    case MemoryClass::kGradients:
      return "gradients";
    case MemoryClass::kOptimizer:
      return "optimizer";
    case MemoryClass::kGatheredParameters:
      return "gathered_parameters";
    case MemoryClass::kActivations:
      return "activations";
    case MemoryClass::kLogits:
      return "logits";
    case MemoryClass::kCommunicationBuffers:
      return "communication_buffers";
    case MemoryClass::kTemporaries:
      return "temporaries";
  }
  return "temporaries";
}

Operation& OperationList::add(OperationKind kind, const char* name, std::int64_t bytes) {
  Operation& operation = operations_.emplace_back();
  operation.kind = kind;
  operation.name = name;
  operation.bytes = common::Bytes(bytes);
  return operation;
}

void OperationList::allocate(const char* name, MemoryClass memory, std::int64_t bytes) {
  if (bytes > 0) add(OperationKind::kAllocate, name, bytes).memory = memory;
}

void OperationList::free(const char* name, MemoryClass memory, std::int64_t bytes) {
  if (bytes > 0) add(OperationKind::kFree, name, bytes).memory = memory;
}

void OperationList::matmul(const char* name, std::int64_t m, std::int64_t n, std::int64_t k,
                           std::int64_t element_size) {
  Operation& operation = add(OperationKind::kKernel, name, element_size * (m * k + k * n + m * n));
  operation.kernel = KernelKind::kMatmul;
  operation.m = m;
  operation.n = n;
  operation.k = k;
  operation.flops =
      common::Flops(2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k));
}

void OperationList::grouped_matmul(const char* name, std::int64_t groups, std::int64_t rows,
                                   std::int64_t outputs, std::int64_t inputs,
                                   std::int64_t element_size) {
  Operation& operation =
      add(OperationKind::kKernel, name,
          element_size * (rows * inputs + groups * inputs * outputs + rows * outputs));
  operation.kernel = KernelKind::kMatmul;
  operation.m = common::ceil_divide(rows, groups);
  operation.n = outputs;
  operation.k = inputs;
  operation.groups = groups;
  operation.flops = common::Flops(2.0 * static_cast<double>(rows) * static_cast<double>(outputs) *
                                  static_cast<double>(inputs));
}

void OperationList::attention(const char* name, common::Flops flops, std::int64_t bytes) {
  Operation& operation = add(OperationKind::kKernel, name, bytes);
  operation.kernel = KernelKind::kAttention;
  operation.flops = flops;
}

void OperationList::elementwise(const char* name, std::int64_t bytes) {
  add(OperationKind::kKernel, name, bytes).kernel = KernelKind::kElementwise;
}

void OperationList::host_copy(const char* name, std::int64_t bytes) {
  add(OperationKind::kKernel, name, bytes).kernel = KernelKind::kHostCopy;
}

void OperationList::host_update(const char* name, std::int64_t bytes) {
  add(OperationKind::kKernel, name, bytes).kernel = KernelKind::kHostUpdate;
}

std::int32_t OperationList::append(const Operation& operation) {
  operations_.push_back(operation);
  const auto index = static_cast<std::int32_t>(operations_.size()) - 1;
  if (operation.kind == OperationKind::kCollective) last_collective_ = index;
  return index;
}

void OperationList::issue(const char* name, CollectiveKind kind, Axis axis, std::int64_t bytes,
                          Stream stream) {
  Operation& operation = add(OperationKind::kCollective, name, bytes);
  operation.stream = stream;
  operation.collective = kind;
  operation.axis = axis;
  last_collective_ = static_cast<std::int32_t>(operations_.size()) - 1;
}

void OperationList::join(std::int32_t collective) {
  add(OperationKind::kWait, "wait", 0).awaited = collective;
}

void OperationList::collective(const char* name, CollectiveKind kind, Axis axis, std::int64_t bytes,
                               Stream stream) {
  issue(name, kind, axis, bytes, stream);
  join();
}

}  // namespace meshplan::planner
