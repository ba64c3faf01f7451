#include "planner/cost/instruction_cost.h"

#include <algorithm>

namespace meshplan::planner {
namespace {

std::size_t index_of(Axis axis) { return static_cast<std::size_t>(axis); }

/// Plays one instruction's operations from time 0, with the streams of tp, cp and ep idle.
class Adder {
 public:
  explicit Adder(const DeviceMesh& mesh) : mesh_(mesh) {}

  void add(const PricedOperations& operations) {
    std::vector<common::Seconds> ends(operations.size());
    for (std::size_t i = 0; i < operations.size(); ++i) {
      const auto& [operation, price] = operations[i];
      switch (operation.kind) {
        case OperationKind::kKernel:
          compute(price.duration);
          cost.flops += operation.flops;
          break;
        case OperationKind::kCollective:
          ends[i] = collective(operation, price);
          break;
        case OperationKind::kWait:
          wait(operations[static_cast<std::size_t>(operation.awaited)].operation,
               ends[static_cast<std::size_t>(operation.awaited)]);
          break;
        case OperationKind::kAllocate:
          change_memory(operation.memory, operation.bytes);
          break;
        case OperationKind::kFree:
          change_memory(operation.memory, -operation.bytes);
          break;
      }
    }
  }

  InstructionCost cost;

 private:
  ComputeTime& part() { return cost.issued ? cost.after : cost.before; }

  void compute(common::Seconds duration) {
    now_ += duration;
    part().total += duration;
    part().kernels += duration;
  }

  void expose(Axis axis, common::Seconds duration) {
    now_ += duration;
    part().total += duration;
    part().exposed[index_of(axis)] += duration;
  }

  common::Seconds collective(const Operation& operation, const Price& price) {
    count(operation, price);
    if (operation.stream == Stream::kCompute) {
      expose(operation.axis, price.duration);
      return now_;
    }
    if (goes_on(operation.stream)) {
      issue(operation, price);
      return now_;
    }
    common::Seconds& free = free_[static_cast<std::size_t>(operation.stream)];
    free = std::max(free, now_) + price.duration;
    expose(operation.axis, price.taken_from_compute);
    return free;
  }

  /// It runs after one that has been issued before it, which takes its time from compute first.
  void issue(const Operation& operation, const Price& price) {
    common::Seconds before;
    if (cost.issued) {
      before = cost.issued->duration;
      expose(cost.issued->axis, cost.issued->taken);
    }
    cost.issued = {.stream = operation.stream,
                   .axis = operation.axis,
                   .duration = before + price.duration,
                   .taken = price.taken_from_compute};
  }

  void wait(const Operation& awaited, common::Seconds end) {
    if (goes_on(awaited.stream)) {
      cost.issued->awaited = true;
    } else if (end > now_) {
      expose(awaited.axis, end - now_);
    }
  }

  void count(const Operation& operation, const Price& price) {
    AxisTraffic& axis = cost.traffic[index_of(operation.axis)];
    axis.bytes += operation.bytes;
    axis.wire_bytes +=
        wire_bytes(operation.collective, operation.bytes, group_size(mesh_, operation.axis));
    axis.operations += 1;
    axis.time += price.duration;
  }

  void change_memory(MemoryClass memory, common::Bytes change) {
    cost.net[static_cast<std::size_t>(memory)] += change;
    cost.net_total += change;
    if (cost.net_total <= cost.peak_total) return;
    cost.peak_total = cost.net_total;
    cost.peak = cost.net;
  }

  const DeviceMesh& mesh_;
  common::Seconds now_;
  std::array<common::Seconds, kStreams> free_{};
};

}  // namespace

InstructionCost add_up(const DeviceMesh& mesh, const PricedOperations& operations) {
  Adder adder(mesh);
  adder.add(operations);
  return adder.cost;
}

}  // namespace meshplan::planner
