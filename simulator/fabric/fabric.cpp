#include "simulator/fabric/fabric.h"

#include <algorithm>

namespace meshplan::simulator {
namespace {

std::int64_t rounded_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

double as_double(std::int64_t value) { return static_cast<double>(value); }

}  // namespace

Fabric::Fabric(const planner::ClusterSpec& cluster)
    : links_(cluster.node_links.value()),
      network_(cluster.node_network.value()),
      nodes_(cluster.nodes),
      devices_(cluster.devices_per_node),
      rails_(std::min(network_.adapters, devices_)) {
  const auto append = [this](std::int64_t count, double capacity) {
    const std::size_t first = capacities_.size();
    capacities_.resize(first + 2 * static_cast<std::size_t>(count), capacity);
    return static_cast<std::int64_t>(first);
  };
  append(nodes_ * devices_, links_.bandwidth.value * links_.ring_share);
  const double rail = node_bandwidth(network_).value / as_double(rails_);
  first_rail_ = append(nodes_ * rails_, rail);
  const std::int64_t leaf = network_.nodes_per_leaf;
  first_leaf_ =
      append(rounded_up(nodes_, leaf) * rails_, as_double(leaf) * rail / network_.oversubscription);
  if (const std::int64_t pod = network_.nodes_per_pod; pod > 0) {
    first_pod_ = append(rounded_up(nodes_, pod) * rails_,
                        as_double(pod) * rail / network_.pod_oversubscription);
  }
}

void Fabric::degrade_node(std::int64_t node, double factor) {
  const auto first = static_cast<std::size_t>(first_rail_ + 2 * node * rails_);
  for (std::size_t i = 0; i < 2 * static_cast<std::size_t>(rails_); ++i)
    capacities_[first + i] *= factor;
}

std::int32_t Fabric::port_out(std::int64_t device) const {
  return static_cast<std::int32_t>(2 * device);
}

std::int32_t Fabric::port_in(std::int64_t device) const {
  return static_cast<std::int32_t>(2 * device + 1);
}

std::int32_t Fabric::uplink(std::int64_t first, std::int64_t group, std::int64_t rail,
                            bool in) const {
  return static_cast<std::int32_t>(first + 2 * (group * rails_ + rail) + (in ? 1 : 0));
}

std::vector<std::int32_t> Fabric::between(std::int64_t from, std::int64_t to,
                                          std::int64_t rail) const {
  std::vector<std::int32_t> links = {uplink(first_rail_, from, rail, false),
                                     uplink(first_rail_, to, rail, true)};
  const auto cross = [&](std::int64_t first, std::int64_t below) {
    if (from / below == to / below) return;
    links.push_back(uplink(first, from / below, rail, false));
    links.push_back(uplink(first, to / below, rail, true));
  };
  cross(first_leaf_, network_.nodes_per_leaf);
  if (network_.nodes_per_pod > 0) cross(first_pod_, network_.nodes_per_pod);
  return links;
}

}  // namespace meshplan::simulator
