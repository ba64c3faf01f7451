#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "planner/cluster/cluster_spec.h"

namespace meshplan::planner {

/// A GPU of the catalog, with the node that it usually comes in.
struct GpuEntry {
  std::string name;
  DeviceSpec device;
  /// By its datasheet; the device has what kernels reach.
  common::BytesPerSecond nominal_memory_bandwidth;
  /// What joins the GPUs of a node: its nominal bandwidth is of one GPU, in one direction.
  std::string link_name;
  common::BytesPerSecond link_bandwidth;
  /// Of a node with a switch.
  NodeLinks links;
  /// Nodes of up to so many GPUs have no switch.
  std::int64_t mesh_up_to = 1;
  std::int64_t gpus_per_node = 1;
  /// The network that it usually comes with.
  std::string network;
  double overlap = 1;
  common::Bytes reserved_memory;
  /// Of its node.
  common::Bytes host_memory;
  common::BytesPerSecond host_memory_bandwidth;
  common::PricePerHour price;
  /// Part of the name that the driver gives it.
  std::string driver_name;
  /// Where each figure comes from, a line each.
  std::string source;
};

/// A network between nodes, of the catalog.
struct NetworkEntry {
  std::string name;
  std::string title;
  /// Nominal, in one direction, of a GPU or else of a node.
  common::BytesPerSecond bandwidth;
  bool per_gpu = true;
  /// Of a node, or of a GPU.
  std::int64_t adapters = 1;
  /// The part of it that collectives reach.
  double efficiency = 1;
  /// A step from node to node of a small message.
  common::Seconds hop;
  std::int64_t nodes_per_leaf = 1;
  double oversubscription = 1;
  std::string source;
};

/// Throw kInvalidInput, naming `where` and what the catalog has, for another name.
GpuEntry load_gpu(const std::string& name, const std::string& where);
NetworkEntry load_network(const std::string& name, const std::string& where);

/// The links of a node of so many of these GPUs.
NodeLinks node_links_of(const GpuEntry& gpu, std::int64_t gpus_per_node);

/// In the manner of measurements: latency a step, and bus bandwidth of large collectives over all
/// devices of a node.
LinkSpec link_of(const NodeLinks& links, std::int64_t devices_per_node);

/// The network of nodes of so many GPUs.
NodeNetwork node_network_of(const NetworkEntry& network, std::int64_t gpus_per_node);

/// The network as one of a node's GPUs sees it.
LinkSpec link_of(const NetworkEntry& network, std::int64_t gpus_per_node);

/// Nodes of this GPU, joined by this network; named as the GPU.
ClusterSpec compose_cluster(const GpuEntry& gpu, const NetworkEntry& network, std::int64_t nodes,
                            std::int64_t gpus_per_node);

/// The catalog's GPU of which a driver speaks so: "NVIDIA H100 80GB HBM3".
std::optional<std::string> gpu_of_driver(std::string_view driver_name);

}  // namespace meshplan::planner
