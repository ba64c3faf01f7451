#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "simulator/fabric/fabric.h"

namespace meshplan::simulator {

/// A collective at work: over these devices, in the order of its group, each of them once.
struct ActiveCollective {
  planner::CollectiveKind kind = planner::CollectiveKind::kAllReduce;
  planner::CollectiveAlgorithm algorithm = planner::CollectiveAlgorithm::kRing;
  planner::CollectiveProtocol protocol = planner::CollectiveProtocol::kSimple;
  /// A message: from the first to the second.
  std::vector<std::int64_t> devices;
};

/// The collective as one flow, whose rate is bytes of its tensor a second: rings by their
/// neighbours, trees by their edges, switches that reduce by the ports to them, exchanges by all
/// pairs of nodes. Alone on the fabric its rate is that of planner::collective_time's transfer
/// where other groups of its kind fill the adapters that it does not use. Requires at least two
/// devices.
Flow flow_of(const Fabric& fabric, const ActiveCollective& collective);

/// Bytes of its tensor a second of each of the collectives that are at work together.
std::vector<double> collective_rates(const Fabric& fabric,
                                     std::span<const ActiveCollective> collectives);

}  // namespace meshplan::simulator
