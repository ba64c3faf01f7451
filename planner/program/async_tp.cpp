#include "planner/program/async_tp.h"

#include <vector>

#include "planner/program/operation_list.h"

namespace meshplan::planner {
namespace {

using enum MemoryClass;

bool is_kernel(const Operation& operation, KernelKind kernel) {
  return operation.kind == OperationKind::kKernel && operation.kernel == kernel;
}

bool is_collective(const Operation& operation, CollectiveKind kind) {
  return operation.kind == OperationKind::kCollective && operation.stream == Stream::kTp &&
         operation.collective == kind;
}

/// Cuts a block's operations into pieces, in their order.
class Cutter {
 public:
  Cutter(const StepContext& context, const Operations& operations)
      : context_(context),
        operations_(operations),
        pieces_(context.layout.mesh.sizes[Axis::kTp]),
        moved_to_(operations.size(), kNoOperation) {}

  Operations cut() {
    for (std::size_t i = 0; i < operations_.size(); ++i) {
      const Operation& operation = operations_[i];
      if (is_collective(operation, CollectiveKind::kAllGather) && awaited_at_once(i)) {
        gathers_.push_back(begin_gather(operation));
        ++i;
      } else if (is_kernel(operation, KernelKind::kMatmul)) {
        multiply(operation, scatter_of(i));
      } else if (is_collective(operation, CollectiveKind::kReduceScatter) && scattering_ &&
                 scattered_ == kNoOperation) {
        // Its messages are on their way; what waits for it waits for all of them.
        scattered_ = static_cast<std::int32_t>(i);
      } else if (operation.kind == OperationKind::kWait) {
        wait(operation);
      } else {
        moved_to_[i] = list_.append(operation);
      }
    }
    while (!gathers_.empty()) end_gather();
    return list_.take();
  }

 private:
  /// The messages that hold the rows of the other ranks, and the buffer that they read.
  struct Messages {
    std::vector<std::int32_t> sent;
    std::int64_t buffer = 0;
    /// Of the whole tensor.
    std::int64_t bytes = 0;
  };

  bool awaited_at_once(std::size_t gather) const {
    return gather + 1 < operations_.size() &&
           operations_[gather + 1].kind == OperationKind::kWait &&
           operations_[gather + 1].awaited == static_cast<std::int32_t>(gather);
  }

  bool can_cut(const Operation& matmul) const {
    return matmul.m == context_.tokens || matmul.k == context_.tokens;
  }

  /// The reduce-scatter of the product's rows, or nothing: what comes between changes memory alone.
  const Operation* scatter_of(std::size_t matmul) const {
    if (operations_[matmul].m != context_.tokens || scattering_) return nullptr;
    for (std::size_t i = matmul + 1; i < operations_.size(); ++i) {
      const Operation& operation = operations_[i];
      if (operation.kind == OperationKind::kAllocate || operation.kind == OperationKind::kFree)
        continue;
      return is_collective(operation, CollectiveKind::kReduceScatter) ? &operation : nullptr;
    }
    return nullptr;
  }

  std::int32_t send(const char* name, std::int64_t bytes) {
    list_.issue(name, CollectiveKind::kSend, Axis::kTp, bytes, Stream::kTp);
    return list_.last_collective();
  }

  void barrier() { list_.join(send("barrier", 0)); }

  Messages begin_gather(const Operation& gather) {
    Messages messages{
        .sent = {}, .buffer = gather.bytes.value / pieces_, .bytes = gather.bytes.value};
    list_.allocate("symmetric memory", kCommunicationBuffers, messages.buffer);
    list_.elementwise("copy to symmetric memory", 2 * messages.buffer);
    barrier();
    for (std::int64_t piece = 1; piece < pieces_; ++piece)
      messages.sent.push_back(send(gather.name, messages.buffer));
    return messages;
  }

  Operation piece_of(const Operation& matmul) const {
    Operation piece = matmul;
    const bool rows = matmul.m == context_.tokens;
    (rows ? piece.m : piece.k) /= pieces_;
    piece.flops = (1.0 / static_cast<double>(pieces_)) * matmul.flops;
    const std::int64_t operand_size = matmul.float8 ? 1 : context_.param_size;
    piece.bytes = common::Bytes(operand_size * (piece.m * piece.k + piece.k * piece.n) +
                                context_.param_size * piece.m * piece.n);
    return piece;
  }

  void multiply(const Operation& matmul, const Operation* scatter) {
    if (!can_cut(matmul)) {
      while (!gathers_.empty()) end_gather();
    }
    if (gathers_.empty() && scatter == nullptr) {
      list_.append(matmul);
      return;
    }
    if (scatter != nullptr) begin_scatter(*scatter);
    for (std::int64_t p = 0; p < pieces_; ++p) {
      if (!gathers_.empty() && p > 0)
        list_.join(gathers_.back().sent[static_cast<std::size_t>(p - 1)]);
      list_.append(piece_of(matmul));
      if (scatter != nullptr && p + 1 < pieces_)
        pieces_sent_.sent.push_back(send(scatter->name, pieces_sent_.bytes / pieces_));
    }
    if (!gathers_.empty()) end_gather();
  }

  void end_gather() {
    const Messages rows = gathers_.back();
    gathers_.pop_back();
    list_.join(rows.sent.back());
    barrier();
    list_.free("symmetric memory", kCommunicationBuffers, rows.buffer);
  }

  void begin_scatter(const Operation& scatter) {
    scattering_ = true;
    pieces_sent_ = {.sent = {}, .buffer = scatter.bytes.value, .bytes = scatter.bytes.value};
    list_.allocate("symmetric memory", kCommunicationBuffers, pieces_sent_.buffer);
    barrier();
  }

  void end_scatter() {
    const std::int64_t bytes = pieces_sent_.bytes;
    for (std::int32_t message : pieces_sent_.sent) list_.join(message);
    barrier();
    list_.elementwise("sum of pieces", bytes + bytes / pieces_);
    list_.free("symmetric memory", kCommunicationBuffers, pieces_sent_.buffer);
    scattering_ = false;
    scattered_ = kNoOperation;
  }

  void wait(Operation operation) {
    if (scattering_ && operation.awaited == scattered_) return end_scatter();
    operation.awaited = moved_to_[static_cast<std::size_t>(operation.awaited)];
    list_.append(operation);
  }

  const StepContext& context_;
  const Operations& operations_;
  std::int64_t pieces_;
  OperationList list_;
  /// Where operations are that stay as they were.
  std::vector<std::int32_t> moved_to_;
  /// Gathers under way, whose rows the next multiplies read: the last one's first.
  std::vector<Messages> gathers_;
  /// A reduce-scatter under way: its own index, once it was met, and its messages.
  bool scattering_ = false;
  std::int32_t scattered_ = kNoOperation;
  Messages pieces_sent_;
};

}  // namespace

Operations in_pieces(const StepContext& context, const Operations& operations) {
  return Cutter(context, operations).cut();
}

}  // namespace meshplan::planner
