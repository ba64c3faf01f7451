#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "planner/cost/collective_time.h"
#include "simulator/fabric/fair_shares.h"

namespace meshplan::simulator {

/// The links of a cluster that its network describes: of every device a port to its node's switch,
/// in and out; of every node its rails (adapters, or bundles of them where a device has several),
/// in and out; of every leaf, for each rail, the uplinks to the spine and back; and of every pod
/// those to the core. Capacities are what collectives reach, bytes a second.
class Fabric {
 public:
  /// Requires a cluster whose links and network are described.
  explicit Fabric(const planner::ClusterSpec& cluster);

  std::span<const double> capacities() const { return capacities_; }
  /// Scales what a node's adapters carry, for a link that is degraded. Requires factor > 0.
  void degrade_node(std::int64_t node, double factor);

  std::int64_t node_of(std::int64_t device) const { return device / devices_; }
  std::int64_t devices_per_node() const { return devices_; }
  std::int64_t rail_of(std::int64_t device) const { return device % devices_ * rails_ / devices_; }
  const planner::NodeLinks& links() const { return links_; }
  const planner::NodeNetwork& network() const { return network_; }

  std::int32_t port_out(std::int64_t device) const;
  std::int32_t port_in(std::int64_t device) const;
  /// The links from a node to another one over this rail: adapter, uplinks as far as they are
  /// needed, adapter.
  std::vector<std::int32_t> between(std::int64_t from, std::int64_t to, std::int64_t rail) const;

 private:
  std::int32_t uplink(std::int64_t first, std::int64_t group, std::int64_t rail, bool in) const;

  planner::NodeLinks links_;
  planner::NodeNetwork network_;
  std::int64_t nodes_;
  std::int64_t devices_;
  std::int64_t rails_;
  std::vector<double> capacities_;
  /// Where each kind of link begins; those of one thing lie side by side, out then in.
  std::int64_t first_rail_ = 0;
  std::int64_t first_leaf_ = 0;
  std::int64_t first_pod_ = 0;
};

}  // namespace meshplan::simulator
