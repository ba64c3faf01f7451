#include "planner/cost/collective_time.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

namespace meshplan::planner {
namespace {

using common::BytesPerSecond;
using common::Seconds;

struct ProtocolCost {
  CollectiveProtocol protocol;
  /// Share of the bytes on the wire that are data.
  double payload;
  /// Steps within and between nodes, in those of kLowLatency.
  double hops;
  double node_hops;
};

// Payloads: 4 of 8 and 120 of 128 bytes (arXiv 2507.04786, table 2). Steps between nodes, and those
// of kLowLatency128 within: ratios of NCCL's constants (src/graph/tuning.cc: 2.7, 4.0 and 9.6 us
// between nodes, 0.6 and 1.9 us within). kSimple within a node is fitted: 12 us a step.
constexpr std::array kProtocols = {
    ProtocolCost{CollectiveProtocol::kLowLatency, 0.5, 1, 1},
    ProtocolCost{CollectiveProtocol::kLowLatency128, 0.9375, 3.2, 1.5},
    ProtocolCost{CollectiveProtocol::kSimple, 1, 20, 3.6},
};

/// A tree's step between nodes waits for two children (NCCL: 5.0 us against a ring's 2.7).
constexpr double kTreeStep = 2;
/// Setting up the multicast and both of its phases, in steps within a node: 42 us, fitted.
constexpr double kSharpHops = 70;
/// A message waits for one neighbour, not for a group: part of the start, an estimate.
constexpr double kMessageStart = 0.125;

double as_double(std::int64_t value) { return static_cast<double>(value); }

std::int64_t ceil_log2(std::int64_t n) { return std::bit_width(static_cast<std::uint64_t>(n - 1)); }

class Choice {
 public:
  void offer(CollectiveAlgorithm algorithm, CollectiveProtocol protocol, Seconds latency,
             Seconds transfer) {
    if (found_ && latency + transfer >= best_.total()) return;
    best_ = {algorithm, protocol, latency, transfer};
    found_ = true;
  }
  const CollectiveTime& best() const { return best_; }

 private:
  CollectiveTime best_;
  bool found_ = false;
};

/// One collective over one group.
struct Case {
  const NodeLinks& links;
  const NodeNetwork& network;
  const GroupPlace& place;
  double bytes;
  bool reduces_all;
  BytesPerSecond within;
  /// Of the group's ranks on one node together; `within` in a group of one node.
  BytesPerSecond between;
};

Seconds hops(const Case& c, const ProtocolCost& protocol, double within, double between) {
  return c.links.start + within * protocol.hops * c.links.hop +
         between * protocol.node_hops * c.network.hop;
}

void offer_ring(const Case& c, Choice& choice) {
  const double rounds = c.reduces_all ? 2 : 1;
  const double n = as_double(c.place.ranks);
  const double crossings = as_double(c.place.nodes - 1);
  const Seconds wire(rounds * (n - 1) / n * c.bytes / std::min(c.within, c.between).value);
  for (const ProtocolCost& protocol : kProtocols) {
    choice.offer(CollectiveAlgorithm::kRing, protocol.protocol,
                 hops(c, protocol, rounds * (n - 1 - crossings), rounds * crossings),
                 wire / protocol.payload);
  }
}

/// Up and down: each rank passes the tensor on once in each direction, half of it in either tree
/// (Sanders, Speck, Traeff 2009).
void offer_tree(const Case& c, Choice& choice) {
  const double up_and_down = 2;
  const Seconds wire(up_and_down * c.bytes / std::min(c.within, c.between).value);
  const double within = up_and_down * as_double(c.place.ranks_in_node - 1);
  const double between = up_and_down * kTreeStep * as_double(ceil_log2(c.place.nodes));
  for (const ProtocolCost& protocol : kProtocols) {
    choice.offer(CollectiveAlgorithm::kTree, protocol.protocol, hops(c, protocol, within, between),
                 wire / protocol.payload);
  }
}

/// Each device sends its tensor to the switch and gets its part of the sum, then sends that part
/// and gets the sum: 1 + 1/n of the tensor in each direction.
void offer_sharp(const Case& c, Choice& choice) {
  const double n = as_double(c.place.ranks_in_node);
  const Seconds node((1 + 1 / n) * c.bytes / sharp_bandwidth(c.links).value);
  const Seconds start = c.links.start + kSharpHops * c.links.hop;
  if (c.place.nodes == 1) {
    choice.offer(CollectiveAlgorithm::kSharp, CollectiveProtocol::kSimple, start, node);
    return;
  }
  // Both tiers work on different chunks at once.
  const double steps = 2 * kTreeStep * as_double(ceil_log2(c.place.nodes));
  const double hop = kProtocols[1].node_hops;
  choice.offer(CollectiveAlgorithm::kHierarchical, CollectiveProtocol::kSimple,
               start + steps * hop * c.network.hop,
               std::max(node, Seconds(2 * c.bytes / c.between.value)));
}

/// All messages at once; those within the node and those between nodes go side by side.
CollectiveTime exchange(const Case& c) {
  const GroupPlace& place = c.place;
  const double n = as_double(place.ranks);
  const double near = c.bytes * as_double(place.ranks_in_node - 1) / n;
  const double far = c.bytes * as_double(place.ranks - place.ranks_in_node) / n;
  const double lanes = as_double(place.ranks_in_node);
  const ProtocolCost& protocol = kProtocols[1];
  return {CollectiveAlgorithm::kPairwise, protocol.protocol,
          hops(c, protocol, n - 1, place.nodes > 1 ? 1 : 0),
          std::max(Seconds(near / c.within.value), Seconds(far * lanes / c.between.value))};
}

CollectiveTime message(const Case& c) {
  const bool leaves = c.place.nodes > 1;
  const BytesPerSecond rate = leaves ? c.between * (1 / as_double(c.place.ranks_in_node))
                                     : ring_bandwidth(c.links, 2, c.place.ranks_per_node);
  return {CollectiveAlgorithm::kPairwise, CollectiveProtocol::kSimple,
          kMessageStart * c.links.start + (leaves ? c.network.hop : c.links.hop),
          Seconds(c.bytes / rate.value)};
}

double tier_slowdown(std::int64_t below, double oversubscription, std::int64_t distance,
                     std::int64_t nodes) {
  if (below <= 0 || nodes <= below) return 1;
  return std::max(1.0, oversubscription * std::min(1.0, as_double(distance) / as_double(below)));
}

}  // namespace

const char* to_string(CollectiveAlgorithm algorithm) {
  switch (algorithm) {
    case CollectiveAlgorithm::kRing:
      return "ring";
    case CollectiveAlgorithm::kTree:
      return "tree";
    case CollectiveAlgorithm::kSharp:
      return "sharp";
    case CollectiveAlgorithm::kHierarchical:
      return "hierarchical";
    case CollectiveAlgorithm::kPairwise:
      return "pairwise";
  }
  return "ring";
}

const char* to_string(CollectiveProtocol protocol) {
  switch (protocol) {
    case CollectiveProtocol::kLowLatency:
      return "LL";
    case CollectiveProtocol::kLowLatency128:
      return "LL128";
    case CollectiveProtocol::kSimple:
      return "Simple";
  }
  return "Simple";
}

double crowding(const NodeNetwork& network, CollectiveKind kind, std::int64_t nodes) {
  if (kind == CollectiveKind::kSend) return 1;
  const double exponent =
      kind == CollectiveKind::kAllReduce ? network.reduce_crowding : network.gather_crowding;
  return exponent == 0 ? 1 : std::pow(as_double(nodes), exponent);
}

double uplink_slowdown(const NodeNetwork& network, std::int64_t distance, std::int64_t nodes) {
  return std::max(
      tier_slowdown(network.nodes_per_leaf, network.oversubscription, distance, nodes),
      tier_slowdown(network.nodes_per_pod, network.pod_oversubscription, distance, nodes));
}

common::BytesPerSecond rank_bandwidth(const NodeNetwork& network, const GroupPlace& place) {
  const std::int64_t reach = place.nodes * place.node_distance;
  return node_bandwidth(network) * (1 / (as_double(place.ranks_per_node) *
                                         uplink_slowdown(network, place.node_distance, reach)));
}

double payload_of(CollectiveProtocol protocol) {
  return kProtocols[static_cast<std::size_t>(protocol)].payload;
}

GroupPlace place_of(const DeviceMesh& mesh, Axis axis) {
  const std::int64_t ranks = group_size(mesh, axis);
  // Cp lies within the groups of dp_shard.
  const std::int64_t stride =
      axis == Axis::kDpShard ? mesh.sizes[Axis::kTp] : stride_of(mesh, axis);
  GroupPlace place{.ranks = ranks,
                   .ranks_in_node = ranks,
                   .nodes = 1,
                   .node_distance = 1,
                   .ranks_per_node = mesh.ranks_per_node};
  if (ranks <= 1 || mesh.ranks_per_node % (stride * ranks) == 0) return place;
  place.ranks_in_node = std::clamp<std::int64_t>(mesh.ranks_per_node / stride, 1, ranks);
  place.nodes = std::max<std::int64_t>(2, (ranks - 1) / place.ranks_in_node + 1);
  place.node_distance = std::max<std::int64_t>(1, stride / mesh.ranks_per_node);
  return place;
}

CollectiveTime collective_time(const NodeLinks& links, const NodeNetwork& network,
                               CollectiveKind kind, common::Bytes bytes, const GroupPlace& place) {
  const bool reduces_all = kind == CollectiveKind::kAllReduce;
  Case c{.links = links,
         .network = network,
         .place = place,
         .bytes = as_double(bytes.value),
         .reduces_all = reduces_all,
         .within = ring_bandwidth(links, place.ranks_in_node, place.ranks_per_node),
         .between = {}};
  c.between = c.within;
  if (place.nodes > 1) {
    c.between = rank_bandwidth(network, place) *
                (as_double(place.ranks_in_node) / crowding(network, kind, place.nodes));
    // A group of one rank a node does not use the links within it.
    if (place.ranks_in_node == 1) c.within = c.between;
  }
  if (kind == CollectiveKind::kSend) return message(c);
  if (kind == CollectiveKind::kAllToAll) return exchange(c);
  Choice choice;
  offer_ring(c, choice);
  if (reduces_all) {
    if (place.nodes > 1) offer_tree(c, choice);
    if (place.ranks_in_node > 2 && sharp_bandwidth(links).value > 0) offer_sharp(c, choice);
  }
  return choice.best();
}

}  // namespace meshplan::planner
