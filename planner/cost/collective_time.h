#pragma once

#include <cstdint>

#include "planner/cluster/cluster_spec.h"
#include "planner/layout/device_mesh.h"

namespace meshplan::planner {

/// kRing; kTree: two binary trees between nodes, a chain within each; kSharp: the switch of a node
/// reduces; kHierarchical: it reduces within each node, trees join the nodes; kPairwise: messages.
enum class CollectiveAlgorithm { kRing, kTree, kSharp, kHierarchical, kPairwise };
const char* to_string(CollectiveAlgorithm algorithm);

/// NCCL's: kLowLatency sends flags with every 4 bytes, kLowLatency128 with every 120, kSimple waits
/// for whole chunks.
enum class CollectiveProtocol { kLowLatency, kLowLatency128, kSimple };
const char* to_string(CollectiveProtocol protocol);
/// Share of the bytes on the wire that are data.
double payload_of(CollectiveProtocol protocol);

/// Where the ranks of a group are. All nodes hold as many, the last one perhaps fewer.
struct GroupPlace {
  std::int64_t ranks = 1;
  std::int64_t ranks_in_node = 1;
  std::int64_t nodes = 1;
  /// From a node of the group to the next one of it.
  std::int64_t node_distance = 1;
  /// Of all groups together that use the same node's adapters at once.
  std::int64_t ranks_per_node = 1;
};

/// A group of this axis on a cluster whose nodes are full.
GroupPlace place_of(const DeviceMesh& mesh, Axis axis);

/// How a collective is done, and how long it takes: what does not depend on its bytes, and what is
/// in proportion to them.
struct CollectiveTime {
  CollectiveAlgorithm algorithm = CollectiveAlgorithm::kRing;
  CollectiveProtocol protocol = CollectiveProtocol::kSimple;
  common::Seconds latency;
  common::Seconds transfer;

  common::Seconds total() const { return latency + transfer; }
};

/// The fastest of the algorithms and protocols that NCCL has for this collective ("Demystifying
/// NCCL", arXiv 2507.04786): start + steps x hop + bytes on the busiest link / what the protocol
/// reaches of it. `bytes`: all_reduce the tensor, all_gather its output, reduce_scatter its input,
/// all_to_all what a rank sends, send the message. Never falls with bytes. `network` is not read
/// for a group on one node. Requires ranks > 1.
CollectiveTime collective_time(const NodeLinks& links, const NodeNetwork& network,
                               CollectiveKind kind, common::Bytes bytes, const GroupPlace& place);

/// What a rank's share of its node's adapters reaches towards the next node of its group: less
/// where the messages of all groups must pass the same uplinks.
common::BytesPerSecond rank_bandwidth(const NodeNetwork& network, const GroupPlace& place);

/// How many times less than their own bandwidth collectives over so many nodes reach of a network
/// that is shared with other jobs. Messages have a link to themselves.
double crowding(const NodeNetwork& network, CollectiveKind kind, std::int64_t nodes);

/// How many times longer messages from each node to the node `distance` further take because
/// they share uplinks: those whose next node is under another switch, against what that switch's
/// uplinks carry. `nodes` is how far the group reaches. At least 1.
double uplink_slowdown(const NodeNetwork& network, std::int64_t distance, std::int64_t nodes);

}  // namespace meshplan::planner
