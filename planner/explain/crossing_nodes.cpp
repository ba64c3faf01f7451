#include "planner/explain/crossing_nodes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace meshplan::planner {
namespace {

/// Takes `factor` from what is left of it in this axis's size; the rest is returned.
std::int64_t take(AxisSizes& sizes, Axis axis, std::int64_t factor) {
  std::int64_t common_factor = 1;
  for (std::int64_t f = 1; f <= factor; ++f) {
    if (factor % f == 0 && sizes[axis] % f == 0) common_factor = f;
  }
  sizes[axis] /= common_factor;
  return factor / common_factor;
}

/// The layout with tp over two nodes of the cluster, its ranks taken from the data-parallel axes;
/// nothing where they do not divide.
std::optional<Layout> across_two_nodes(const ModelSpec& model, const ClusterSpec& cluster,
                                       const Job& job, Layout layout) {
  AxisSizes& sizes = layout.mesh.sizes;
  layout.mesh.ranks_per_node = cluster.devices_per_node;
  const std::int64_t tp = 2 * cluster.devices_per_node;
  if (tp % sizes[Axis::kTp] != 0) return std::nullopt;
  std::int64_t left = tp / sizes[Axis::kTp];
  left = take(sizes, Axis::kDpShard, left);
  left = take(sizes, Axis::kDpReplicate, left);
  if (left > 1) return std::nullopt;
  sizes[Axis::kTp] = tp;
  layout.sequence_parallel = default_sequence_parallel(model, layout, job);
  // Without replicas left the hybrid strategies are the plain ones.
  if (sizes[Axis::kDpReplicate] == 1) layout.sharding = without_replicas(layout.sharding);
  return layout;
}

/// Fills in layout and estimate, or why there are none.
void place(CrossingNodes& crossing, const ModelSpec& model, const ClusterSpec& cluster,
           const Job& job, const Layout& chosen) {
  const auto layout = across_two_nodes(model, cluster, job, chosen);
  if (!layout) {
    crossing.not_priced =
        fmt::format("the ranks for tp={} do not divide out of dp_shard and dp_replicate",
                    2 * cluster.devices_per_node);
    return;
  }
  crossing.layout = *layout;
  crossing.estimate = estimate(model, cluster, job, *layout);
  crossing.not_priced = to_string(crossing.estimate.violations);
  std::replace(crossing.not_priced.begin(), crossing.not_priced.end(), '\n', ';');
}

/// The same devices on twice as many nodes.
ClusterSpec with_halved_nodes(ClusterSpec cluster) {
  cluster.devices_per_node /= 2;
  cluster.nodes *= 2;
  // Each half has half of the adapters.
  if (cluster.node_network)
    cluster.node_network->adapter_bandwidth = 0.5 * cluster.node_network->adapter_bandwidth;
  return cluster;
}

/// What a device reaches in a ring over the nodes' adapters, and over the links within a node.
double rank_share(const ClusterSpec& cluster) {
  return node_bandwidth(*cluster.node_network).value /
         static_cast<double>(cluster.devices_per_node);
}
double link_share(const ClusterSpec& cluster) {
  return cluster.intra_node.all_gather.bandwidth.value;
}

common::Seconds link_hop(const ClusterSpec& cluster) {
  return cluster.node_links ? cluster.node_links->hop : cluster.intra_node.all_gather.latency;
}

/// The network between nodes faster by this factor, as far as the links within a node.
ClusterSpec with_faster_network(ClusterSpec cluster, double factor) {
  const auto faster = [factor](CollectiveCost& inter, const CollectiveCost& intra) {
    inter.bandwidth =
        std::max(inter.bandwidth, std::min(factor * inter.bandwidth, intra.bandwidth));
    inter.latency = std::min(inter.latency, std::max(inter.latency / factor, intra.latency));
  };
  faster(cluster.inter_node.all_reduce, cluster.intra_node.all_reduce);
  faster(cluster.inter_node.all_gather, cluster.intra_node.all_gather);
  faster(cluster.inter_node.reduce_scatter, cluster.intra_node.reduce_scatter);
  if (cluster.node_network) {
    NodeNetwork& network = *cluster.node_network;
    const double wider = std::clamp(link_share(cluster) / rank_share(cluster), 1.0, factor);
    network.adapter_bandwidth = wider * network.adapter_bandwidth;
    network.hop = std::min(network.hop, std::max(network.hop / factor, link_hop(cluster)));
  }
  return cluster;
}

/// By how much the network would have to be faster to be as the links within a node.
double factor_to_node_links(const ClusterSpec& cluster) {
  double factor = 1;
  if (cluster.node_network) {
    factor = std::max(factor, link_share(cluster) / rank_share(cluster));
    if (const double hop = link_hop(cluster).value; hop > 0)
      factor = std::max(factor, cluster.node_network->hop.value / hop);
    return factor;
  }
  const auto weigh = [&factor](const CollectiveCost& inter, const CollectiveCost& intra) {
    factor = std::max(factor, intra.bandwidth.value / inter.bandwidth.value);
    if (intra.latency.value > 0)
      factor = std::max(factor, inter.latency.value / intra.latency.value);
  };
  weigh(cluster.inter_node.all_reduce, cluster.intra_node.all_reduce);
  weigh(cluster.inter_node.all_gather, cluster.intra_node.all_gather);
  weigh(cluster.inter_node.reduce_scatter, cluster.intra_node.reduce_scatter);
  return factor;
}

}  // namespace

CrossingNodes cross_nodes(const ModelSpec& model, const ClusterSpec& cluster, const Job& job,
                          const Candidate& candidate) {
  CrossingNodes crossing;
  const std::int64_t tp = candidate.layout.mesh.sizes[Axis::kTp];
  if (cluster.nodes == 1) {
    crossing.not_priced = "there is one node alone";
    return crossing;
  }
  if (tp > cluster.devices_per_node) {
    crossing.not_priced =
        fmt::format("tp={} of the chosen layout is over several nodes already", tp);
    return crossing;
  }
  ClusterSpec placed = cluster;
  place(crossing, model, cluster, job, candidate.layout);
  if (!crossing.not_priced.empty() && cluster.devices_per_node % 2 == 0) {
    CrossingNodes halved;
    placed = with_halved_nodes(cluster);
    place(halved, model, placed, job, candidate.layout);
    if (halved.not_priced.empty()) crossing = halved;
  }
  if (!crossing.not_priced.empty()) return crossing;
  const auto slower_by = [&](double factor) {
    const auto rate = [&](const ClusterSpec& on, const Layout& layout) {
      return estimate(model, with_faster_network(on, factor), job, layout)
          .tokens_per_second_per_gpu;
    };
    return rate(cluster, candidate.layout) / rate(placed, crossing.layout) - 1;
  };
  const double node_links = factor_to_node_links(cluster);
  crossing.slower = slower_by(1);
  crossing.slower_on_node_links = slower_by(node_links);
  if (crossing.slower > 0 && crossing.slower_on_node_links < 0) {
    double loses = 1;
    double wins = node_links;
    while (wins / loses > 1.01) {
      const double middle = std::sqrt(loses * wins);
      (slower_by(middle) > 0 ? loses : wins) = middle;
    }
    crossing.break_even = wins;
  }
  return crossing;
}

}  // namespace meshplan::planner
