#pragma once

#include "planner/program/operation.h"

namespace meshplan::planner {

/// Appends operations in order and keeps track of what each has to wait for across streams.
class OperationList {
 public:
  void allocate(const char* name, MemoryClass memory, std::int64_t bytes);
  void free(const char* name, MemoryClass memory, std::int64_t bytes);

  /// [m, k] x [k, n] on the compute stream, elements of `element_size` bytes.
  void matmul(const char* name, std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t element_size);
  void attention(const char* name, common::Flops flops, std::int64_t bytes);
  void elementwise(const char* name, std::int64_t bytes, Stream stream = Stream::kCompute);

  /// Issues a collective that waits for the kernel before it; nothing waits for it until join().
  void issue(const char* name, CollectiveKind kind, Axis axis, std::int64_t bytes, Stream stream);
  /// The next kernel waits for the last collective issued.
  void join() { join_ = last_collective_; }
  /// issue() and join().
  void collective(const char* name, CollectiveKind kind, Axis axis, std::int64_t bytes, Stream stream);

  Operations take() { return std::move(operations_); }

 private:
  Operation& add(OperationKind kind, const char* name, Stream stream, std::int64_t bytes);
  Operation& add_kernel(KernelKind kernel, const char* name, Stream stream, std::int64_t bytes);

  Operations operations_;
  std::int32_t last_kernel_ = kNoOperation;
  std::int32_t last_collective_ = kNoOperation;
  std::int32_t join_ = kNoOperation;
};

}  // namespace meshplan::planner
