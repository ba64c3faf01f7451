#pragma once

#include "planner/program/operation.h"

namespace meshplan::planner {

/// Appends operations in the order of issue.
class OperationList {
 public:
  /// With room for those of most instructions.
  OperationList() { operations_.reserve(64); }

  void allocate(const char* name, MemoryClass memory, std::int64_t bytes);
  void free(const char* name, MemoryClass memory, std::int64_t bytes);

  /// [m, k] x [k, n] on the compute stream, elements of `element_size` bytes.
  void matmul(const char* name, std::int64_t m, std::int64_t n, std::int64_t k,
              std::int64_t element_size);
  /// For each of `groups` matrices [outputs, inputs] its share of `rows` rows: output, input
  /// gradient or weight gradient, which take as many FLOPs and touch the same bytes.
  void grouped_matmul(const char* name, std::int64_t groups, std::int64_t rows,
                      std::int64_t outputs, std::int64_t inputs, std::int64_t element_size);
  void attention(const char* name, common::Flops flops, std::int64_t bytes);
  void elementwise(const char* name, std::int64_t bytes);
  void host_copy(const char* name, std::int64_t bytes);
  void host_update(const char* name, std::int64_t bytes);

  /// An operation as it is elsewhere; of kWait, `awaited` is set by the caller. Its index.
  std::int32_t append(const Operation& operation);

  /// Issues a collective; nothing waits for it until a join().
  void issue(const char* name, CollectiveKind kind, Axis axis, std::int64_t bytes, Stream stream);
  /// Compute waits for the last collective issued, or for the one at this index. Requires it.
  void join() { join(last_collective_); }
  void join(std::int32_t collective);
  /// The index of the last collective issued; kNoOperation before the first.
  std::int32_t last_collective() const { return last_collective_; }
  /// issue() and join().
  void collective(const char* name, CollectiveKind kind, Axis axis, std::int64_t bytes,
                  Stream stream);

  Operations take() { return std::move(operations_); }

 private:
  Operation& add(OperationKind kind, const char* name, std::int64_t bytes);

  Operations operations_;
  std::int32_t last_collective_ = kNoOperation;
};

}  // namespace meshplan::planner
