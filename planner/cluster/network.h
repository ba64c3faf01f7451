#pragma once

#include <cstdint>

#include "common/units.h"

namespace meshplan::planner {

/// What joins the devices of a node: nominal figures, and the shares of them that collectives
/// reach.
struct NodeLinks {
  /// Of one device, all of its links together, in one direction.
  common::BytesPerSecond bandwidth;
  /// Share of it that rings, exchanges and messages reach.
  double ring_share = 1;
  /// Share that is reached where the switch reduces (NVLink SHARP); 0 = it does not.
  double sharp_share = 0;
  /// Every pair has links of its own, and there is no switch: a group has the links between its
  /// members only.
  bool mesh = false;
  /// What issuing a collective takes, and waiting for its last rank, before its first byte moves.
  common::Seconds start;
  /// A step from device to device of a small message.
  common::Seconds hop;

  bool operator==(const NodeLinks&) const = default;
};

/// What joins the nodes: adapters, and a fat tree of up to three tiers (leaf, spine, core).
struct NodeNetwork {
  /// Of a node; each is a rail.
  std::int64_t adapters = 1;
  /// Nominal, of one adapter, in one direction.
  common::BytesPerSecond adapter_bandwidth;
  /// Share of it that is reached.
  double share = 1;
  /// A step from node to node of a small message.
  common::Seconds hop;
  /// Nodes that meet without leaving their leaf switches, and how many times the bandwidth of
  /// those nodes is that of the leaf's uplinks; 1 = all of it.
  std::int64_t nodes_per_leaf = 32;
  double oversubscription = 1;
  /// The same for the nodes below one spine, whose uplinks lead to the core; 0 = no third tier.
  std::int64_t nodes_per_pod = 0;
  double pod_oversubscription = 1;
  /// On a fabric shared with other jobs the bandwidth between k nodes is that of the slowest of
  /// them: 1 / k^crowding of it. 0 = the network is this job's alone.
  double gather_crowding = 0;
  double reduce_crowding = 0;

  bool operator==(const NodeNetwork&) const = default;
};

/// What a device reaches in a ring of `ranks` of the `devices` of its node.
common::BytesPerSecond ring_bandwidth(const NodeLinks& links, std::int64_t ranks,
                                      std::int64_t devices);

/// What a device reaches where the switch reduces; 0 = it does not.
common::BytesPerSecond sharp_bandwidth(const NodeLinks& links);

/// What all adapters of a node reach together.
common::BytesPerSecond node_bandwidth(const NodeNetwork& network);

}  // namespace meshplan::planner
