#include "planner/program/operation_list.h"

#include <utility>

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

Operation& OperationList::add(OperationKind kind, const char* name, Stream stream, std::int64_t bytes) {
  Operation& operation = operations_.emplace_back();
  operation.kind = kind;
  operation.stream = stream;
  operation.name = name;
  operation.bytes = common::Bytes(bytes);
  return operation;
}

Operation& OperationList::add_kernel(KernelKind kernel, const char* name, Stream stream, std::int64_t bytes) {
  Operation& operation = add(OperationKind::kKernel, name, stream, bytes);
  operation.kernel = kernel;
  operation.after = std::exchange(join_, kNoOperation);
  last_kernel_ = static_cast<std::int32_t>(operations_.size()) - 1;
  return operation;
}

void OperationList::allocate(const char* name, MemoryClass memory, std::int64_t bytes) {
  if (bytes > 0) add(OperationKind::kAllocate, name, Stream::kCompute, bytes).memory = memory;
}

void OperationList::free(const char* name, MemoryClass memory, std::int64_t bytes) {
  if (bytes > 0) add(OperationKind::kFree, name, Stream::kCompute, bytes).memory = memory;
}

void OperationList::matmul(const char* name, std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t element_size) {
  Operation& operation =
      add_kernel(KernelKind::kMatmul, name, Stream::kCompute, element_size * (m * k + k * n + m * n));
  operation.m = m;
  operation.n = n;
  operation.k = k;
  operation.flops = common::Flops(2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k));
}

void OperationList::attention(const char* name, common::Flops flops, std::int64_t bytes) {
  add_kernel(KernelKind::kAttention, name, Stream::kCompute, bytes).flops = flops;
}

void OperationList::elementwise(const char* name, std::int64_t bytes, Stream stream) {
  add_kernel(KernelKind::kElementwise, name, stream, bytes);
}

void OperationList::issue(const char* name, CollectiveKind kind, Axis axis, std::int64_t bytes, Stream stream) {
  Operation& operation = add(OperationKind::kCollective, name, stream, bytes);
  operation.collective = kind;
  operation.axis = axis;
  operation.after = last_kernel_;
  last_collective_ = static_cast<std::int32_t>(operations_.size()) - 1;
}

void OperationList::collective(const char* name, CollectiveKind kind, Axis axis, std::int64_t bytes, Stream stream) {
  issue(name, kind, axis, bytes, stream);
  join();
}

}  // namespace meshplan::planner
