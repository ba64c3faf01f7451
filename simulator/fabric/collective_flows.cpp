#include "simulator/fabric/collective_flows.h"

#include <algorithm>
#include <cmath>

namespace meshplan::simulator {
namespace {

using planner::CollectiveAlgorithm;
using planner::CollectiveKind;

double as_double(std::int64_t value) { return static_cast<double>(value); }

/// Devices of a group that lie on one node.
using Members = std::span<const std::int64_t>;

class FlowBuilder {
 public:
  FlowBuilder(const Fabric& fabric, const ActiveCollective& collective)
      : fabric_(fabric), collective_(collective) {
    const std::vector<std::int64_t>& devices = collective.devices;
    for (std::size_t begin = 0; begin < devices.size();) {
      std::size_t end = begin + 1;
      while (end < devices.size() && fabric.node_of(devices[end]) == fabric.node_of(devices[begin]))
        ++end;
      nodes_.push_back(Members(devices).subspan(begin, end - begin));
      begin = end;
    }
  }

  Flow build() {
    const double n = as_double(std::ssize(collective_.devices));
    const bool reduces_all = collective_.kind == CollectiveKind::kAllReduce;
    const double payload = planner::payload_of(collective_.protocol);
    switch (collective_.algorithm) {
      case CollectiveAlgorithm::kRing:
        rings((reduces_all ? 2 : 1) * (n - 1) / n / payload);
        break;
      case CollectiveAlgorithm::kTree:
        rings(2 / payload);
        break;
      case CollectiveAlgorithm::kSharp:
      case CollectiveAlgorithm::kHierarchical:
        switches();
        neighbours(2);
        break;
      case CollectiveAlgorithm::kPairwise:
        collective_.kind == CollectiveKind::kSend ? message() : exchange();
        break;
    }
    return merged();
  }

 private:
  /// A ring over all devices, cut into as many as a node has rails: each port passes on all of it,
  /// each rail its part. A tree fills ports and adapters alike, up and down.
  void rings(double wire) {
    for (const Members members : nodes_) {
      if (members.size() > 1) ports(members, wire * mesh_factor(members));
    }
    neighbours(wire);
  }

  /// A device's tensor to the switch and its part of the sum from it, and the other way round.
  void switches() {
    const planner::NodeLinks& links = fabric_.links();
    for (const Members members : nodes_) {
      const double tensor = 1 + 1 / as_double(std::ssize(members));
      ports(members, tensor * links.ring_share / links.sharp_share);
    }
  }

  void exchange() {
    const double n = as_double(std::ssize(collective_.devices));
    for (const Members members : nodes_) {
      const double near = as_double(std::ssize(members) - 1) / n;
      if (near > 0) ports(members, near * mesh_factor(members));
      for (const Members others : nodes_) {
        if (others.data() == members.data()) continue;
        // Each of the members has a part for each of the others.
        cross(members, others, as_double(std::ssize(members) * std::ssize(others)) / n);
      }
    }
  }

  void message() {
    const std::int64_t from = collective_.devices[0];
    const std::int64_t to = collective_.devices[1];
    if (nodes_.size() > 1) {
      links_between(from, to, fabric_.rail_of(from), 1);
      return;
    }
    // A pair of a mesh has links of its own, one of those of a device to all others.
    const double pair = fabric_.links().mesh
                            ? as_double(std::max<std::int64_t>(fabric_.devices_per_node() - 1, 1))
                            : 1;
    uses_.push_back({fabric_.port_out(from), pair});
    uses_.push_back({fabric_.port_in(to), pair});
  }

  void ports(Members members, double weight) {
    for (const std::int64_t device : members) {
      uses_.push_back({fabric_.port_out(device), weight});
      uses_.push_back({fabric_.port_in(device), weight});
    }
  }

  /// From each node to the next one of the group.
  void neighbours(double wire) {
    if (nodes_.size() == 1) return;
    for (std::size_t i = 0; i < nodes_.size(); ++i)
      cross(nodes_[i], nodes_[(i + 1) % nodes_.size()], wire);
  }

  /// Over the rails of the members that send, in equal parts.
  void cross(Members from, Members to, double wire) {
    const planner::NodeNetwork& network = fabric_.network();
    const double exponent = collective_.kind == CollectiveKind::kAllReduce
                                ? network.reduce_crowding
                                : network.gather_crowding;
    const double crowded = std::pow(as_double(std::ssize(nodes_)), exponent);
    for (const std::int64_t device : from) {
      links_between(device, to.front(), fabric_.rail_of(device),
                    wire * crowded / as_double(std::ssize(from)));
    }
  }

  void links_between(std::int64_t from, std::int64_t to, std::int64_t rail, double weight) {
    for (const std::int32_t link :
         fabric_.between(fabric_.node_of(from), fabric_.node_of(to), rail))
      uses_.push_back({link, weight});
  }

  /// What the capacity of a port is more than that of the links to the other members.
  double mesh_factor(Members members) const {
    const std::int64_t all = fabric_.devices_per_node() - 1;
    const std::int64_t joined = std::ssize(members) - 1;
    return fabric_.links().mesh && joined > 0 && joined < all ? as_double(all) / as_double(joined)
                                                              : 1;
  }

  /// Each link once.
  Flow merged() {
    std::sort(uses_.begin(), uses_.end(),
              [](const LinkUse& a, const LinkUse& b) { return a.link < b.link; });
    Flow flow;
    for (const LinkUse& use : uses_) {
      if (flow.uses.empty() || flow.uses.back().link != use.link) {
        flow.uses.push_back(use);
      } else {
        flow.uses.back().weight += use.weight;
      }
    }
    return flow;
  }

  const Fabric& fabric_;
  const ActiveCollective& collective_;
  std::vector<Members> nodes_;
  std::vector<LinkUse> uses_;
};

}  // namespace

Flow flow_of(const Fabric& fabric, const ActiveCollective& collective) {
  return FlowBuilder(fabric, collective).build();
}

std::vector<double> collective_rates(const Fabric& fabric,
                                     std::span<const ActiveCollective> collectives) {
  std::vector<Flow> flows;
  flows.reserve(collectives.size());
  for (const ActiveCollective& collective : collectives)
    flows.push_back(flow_of(fabric, collective));
  return fair_rates(fabric.capacities(), flows);
}

}  // namespace meshplan::simulator
