#include "planner/cost/traffic.h"

namespace meshplan::planner {

Traffic count_traffic(const DeviceMesh& mesh, const PricedProgram& program) {
  Traffic traffic{};
  for (const PricedPhase& phase : program.phases) {
    for (const PricedSegment& segment : phase.segments) {
      const std::int64_t times = phase.count * segment.count;
      for (const PricedInstruction& instruction : segment.instructions) {
        for (const auto& [operation, price] : *instruction.operations) {
          if (operation.kind != OperationKind::kCollective) continue;
          AxisTraffic& axis = traffic[static_cast<std::size_t>(operation.axis)];
          axis.bytes += times * operation.bytes;
          axis.wire_bytes += times * wire_bytes(operation.collective, operation.bytes,
                                                group_size(mesh, operation.axis));
          axis.operations += times;
          axis.time += static_cast<double>(times) * price.duration;
        }
      }
    }
  }
  return traffic;
}

}  // namespace meshplan::planner
