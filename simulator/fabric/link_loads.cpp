#include "simulator/fabric/link_loads.h"

#include <algorithm>
#include <cmath>

namespace meshplan::simulator {
namespace {

using planner::CollectiveAlgorithm;
using planner::CollectiveKind;
using planner::GroupPlace;
using planner::NodeLinks;
using planner::NodeNetwork;

double as_double(std::int64_t value) { return static_cast<double>(value); }

/// Bytes that pass a rank's port, and its part of the node's adapters.
struct RankBytes {
  double port = 0;
  double adapters = 0;
};

/// A ring over all ranks is cut into as many as a node has of them: each port passes on all of it,
/// each part of the adapters its own. A tree fills ports and adapters alike, up and down.
RankBytes of_rings(const GroupPlace& place, double wire) {
  const bool leaves = place.nodes > 1;
  const bool stays = !leaves || place.ranks_in_node > 1;
  return {.port = stays ? wire : 0, .adapters = leaves ? wire / as_double(place.ranks_in_node) : 0};
}

RankBytes of_exchange(const GroupPlace& place, double bytes) {
  const double part = bytes / as_double(place.ranks);
  return {.port = part * as_double(place.ranks_in_node - 1),
          .adapters = part * as_double(place.ranks - place.ranks_in_node)};
}

/// A rank's tensor to the switch and its part of the sum from it, and the other way round; the sum
/// of the node up and down a tree.
RankBytes of_switches(const GroupPlace& place, double bytes) {
  const double members = as_double(place.ranks_in_node);
  return {.port = (1 + 1 / members) * bytes, .adapters = place.nodes > 1 ? 2 * bytes / members : 0};
}

RankBytes bytes_of(const planner::DescribedCollective& collective, CollectiveKind kind,
                   double bytes) {
  const GroupPlace& place = collective.place;
  const double n = as_double(place.ranks);
  const double payload = payload_of(collective.time.protocol);
  switch (collective.time.algorithm) {
    case CollectiveAlgorithm::kRing:
      return of_rings(place,
                      (kind == CollectiveKind::kAllReduce ? 2 : 1) * (n - 1) / n * bytes / payload);
    case CollectiveAlgorithm::kTree:
      return of_rings(place, 2 * bytes / payload);
    case CollectiveAlgorithm::kSharp:
    case CollectiveAlgorithm::kHierarchical:
      return of_switches(place, bytes);
    case CollectiveAlgorithm::kPairwise:
      break;
  }
  if (kind == CollectiveKind::kAllToAll) return of_exchange(place, bytes);
  return place.nodes > 1 ? RankBytes{.adapters = bytes} : RankBytes{.port = bytes};
}

/// What of the port this collective reaches: a group on a mesh the links between its members, a
/// switch that reduces more than a ring.
double port_rate(const planner::DescribedCollective& collective, CollectiveKind kind) {
  const GroupPlace& place = collective.place;
  const CollectiveAlgorithm algorithm = collective.time.algorithm;
  if (algorithm == CollectiveAlgorithm::kSharp || algorithm == CollectiveAlgorithm::kHierarchical)
    return sharp_bandwidth(collective.links).value;
  const std::int64_t joined = kind == CollectiveKind::kSend ? 2 : place.ranks_in_node;
  return ring_bandwidth(collective.links, joined, place.ranks_per_node).value;
}

/// Part of a node's bytes that go up: those whose next node is not below the same switch.
double crossing(const GroupPlace& place, std::int64_t below) {
  if (below <= 0 || place.nodes * place.node_distance <= below) return 0;
  return std::min(1.0, as_double(place.node_distance) / as_double(below));
}

}  // namespace

LinkLoads link_loads(const planner::DescribedCollective& collective, CollectiveKind kind,
                     common::Bytes bytes) {
  const NodeNetwork& network = collective.network;
  const GroupPlace& place = collective.place;
  RankBytes passed = bytes_of(collective, kind, as_double(bytes.value));
  passed.adapters *= planner::crowding(network, kind, place.nodes);
  const double port = port_rate(collective, kind);
  const double adapters = node_bandwidth(network).value / as_double(place.ranks_per_node);
  const double whole_port =
      ring_bandwidth(collective.links, place.ranks_per_node, place.ranks_per_node).value;
  const double up = passed.adapters * crossing(place, network.nodes_per_leaf);
  const double up_again = passed.adapters * crossing(place, network.nodes_per_pod);
  const std::array<double, kLinkTiers> seconds = {
      passed.port > 0 ? passed.port / port : 0,
      passed.adapters > 0 ? passed.adapters / adapters : 0,
      up > 0 ? up * network.oversubscription / adapters : 0,
      up_again > 0 ? up_again * network.pod_oversubscription / adapters : 0};
  const std::array<double, kLinkTiers> rates = {port, adapters, adapters / network.oversubscription,
                                                adapters / network.pod_oversubscription};
  const auto longest = std::ranges::max_element(seconds);
  LinkLoads loads;
  if (*longest <= 0) return loads;
  for (std::size_t tier = 0; tier < kLinkTiers; ++tier)
    loads.parts[tier] = seconds[tier] / *longest;
  // On a mesh a group that has some of a port's links leaves the others.
  loads.parts[0] *= std::min(1.0, port / whole_port);
  loads.rate = rates[static_cast<std::size_t>(longest - seconds.begin())];
  loads.transfer = common::Seconds(*longest);
  return loads;
}

}  // namespace meshplan::simulator
