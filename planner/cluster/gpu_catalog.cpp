#include "planner/cluster/gpu_catalog.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "common/error.h"
#include "planner/catalog/catalog.h"
#include "planner/cluster/cluster_fields.h"

namespace meshplan::planner {
namespace {

using common::BytesPerSecond;
using common::FlopsPerSecond;

/// Fitted to published all_reduce of 32 KiB to 1 MiB over 8 A100, H200 and B200.
constexpr common::Seconds kCollectiveStart{38e-6};

/// The entry of that name, read by `read` from its fields.
template <class Read>
auto load_entry(const char* kind, const char* what, const std::string& name,
                const std::string& where, const Read& read) {
  const auto text = catalog_text(kind, name);
  if (!text) {
    throw common::Error(common::ErrorCode::kInvalidInput,
                        fmt::format("'{:.60}' is no {} of the catalog; use {}", name, what,
                                    fmt::join(catalog_names(kind), ", ")),
                        where);
  }
  const std::string place = fmt::format("catalog {} {}", what, name);
  const common::Json json = common::parse_json(*text, place);
  const common::JsonObject object(json, place);
  common::Complaints complaints;
  const ClusterFields fields(object, complaints);
  check_schema_version(fields);
  auto entry = read(fields);
  fields.reject_unknown_keys();
  complaints.throw_if_any(place);
  return entry;
}

/// "memory_bytes: NVIDIA ... datasheet", a line each.
std::string read_sources(const ClusterFields& fields) {
  return fields.complaints().of([&] {
    const common::JsonObject sources = fields.json().object("sources");
    std::string text;
    for (const auto& [key, value] : sources.json().items())
      text += fmt::format("{}{}: {}", text.empty() ? "" : "\n", key, sources.text(key));
    return text;
  });
}

DeviceSpec read_gpu_device(const ClusterFields& fields) {
  return {.name = fields.text("title"),
          .kind = DeviceKind::kGpu,
          .memory = common::Bytes(fields.integer("memory_bytes", 1, kMaxBytes)),
          .float32_peak = FlopsPerSecond(fields.rate("float32_peak_flops_per_s")),
          .bfloat16_peak = FlopsPerSecond(fields.rate("bfloat16_peak_flops_per_s")),
          .float16_peak = FlopsPerSecond(fields.rate("float16_peak_flops_per_s")),
          .float8_peak = FlopsPerSecond(fields.rate_or_none("float8_peak_flops_per_s")),
          .matmul = fields.matmul("matmul"),
          .attention_rate = {},
          .memory_bandwidth = BytesPerSecond(fields.rate("memory_bandwidth_bytes_per_s")) *
                              fields.number("memory_efficiency", 1e-3, 1),
          .launch_overhead = fields.seconds("launch_overhead_s"),
          .power = common::Watts(fields.number("power_w", 0, kMaxPower)),
          .host_bandwidth = BytesPerSecond(fields.rate("host_bandwidth_bytes_per_s")) *
                            fields.number("host_efficiency", 1e-3, 1)};
}

GpuEntry read_gpu(const ClusterFields& fields) {
  GpuEntry gpu;
  gpu.name = fields.text("name");
  gpu.device = read_gpu_device(fields);
  gpu.nominal_memory_bandwidth = BytesPerSecond(fields.rate("memory_bandwidth_bytes_per_s"));
  fields.object("link", [&gpu](const ClusterFields& link) {
    gpu.link_name = link.text("name");
    gpu.link_bandwidth = BytesPerSecond(link.rate("bandwidth_bytes_per_s"));
    gpu.links = {.bandwidth = gpu.link_bandwidth,
                 .ring_share = link.number("ring_share", 1e-3, 1),
                 .sharp_share = link.number("sharp_share", 0, 1),
                 .start = kCollectiveStart,
                 .hop = link.seconds("hop_s")};
    gpu.mesh_up_to = link.integer("mesh_up_to", 1, kMaxDevicesPerNode);
    return true;
  });
  gpu.gpus_per_node = fields.integer("gpus_per_node", 1, kMaxDevicesPerNode);
  gpu.network = fields.text("network");
  gpu.overlap = fields.number("overlap", 0, 1);
  gpu.reserved_memory =
      common::Bytes(fields.integer("reserved_memory_bytes", 0, gpu.device.memory.value));
  gpu.host_memory = common::Bytes(fields.integer("host_memory_bytes", 1, kMaxBytes));
  gpu.host_memory_bandwidth = BytesPerSecond(fields.rate("host_memory_bandwidth_bytes_per_s")) *
                              fields.number("host_efficiency", 1e-3, 1);
  gpu.price = common::PricePerHour(fields.number("price_per_gpu_hour", 0, kMaxPrice));
  gpu.driver_name = fields.text("driver_name");
  gpu.source = read_sources(fields);
  return gpu;
}

NetworkEntry read_network(const ClusterFields& fields) {
  NetworkEntry network;
  network.name = fields.text("name");
  network.title = fields.text("title");
  network.bandwidth = BytesPerSecond(fields.rate("bandwidth_bytes_per_s"));
  network.per_gpu = fields.text("per") == "gpu";
  network.efficiency = fields.number("efficiency", 1e-3, 1);
  network.adapters = fields.integer("adapters", 1, kMaxAdapters);
  network.hop = fields.seconds("hop_s");
  network.nodes_per_leaf = fields.integer("nodes_per_leaf", 1, kMaxNodes);
  network.oversubscription = fields.oversubscription("oversubscription");
  network.source = read_sources(fields);
  return network;
}

}  // namespace

GpuEntry load_gpu(const std::string& name, const std::string& where) {
  return load_entry("gpus", "gpu", name, where, read_gpu);
}

NetworkEntry load_network(const std::string& name, const std::string& where) {
  return load_entry("networks", "network", name, where, read_network);
}

NodeLinks node_links_of(const GpuEntry& gpu, std::int64_t gpus_per_node) {
  NodeLinks links = gpu.links;
  links.mesh = gpus_per_node <= gpu.mesh_up_to;
  return links;
}

LinkSpec link_of(const NodeLinks& links, std::int64_t devices_per_node) {
  const double n = static_cast<double>(std::max<std::int64_t>(devices_per_node, 2));
  const common::Seconds start = links.start / (n - 1);
  const BytesPerSecond ring = ring_bandwidth(links, devices_per_node, devices_per_node);
  // 2 (n - 1) / n of the tensor on a ring's wire in the time of 1 + 1 / n of it to the switch.
  const BytesPerSecond sharp = sharp_bandwidth(links) * (2 * (n - 1) / (n + 1));
  const CollectiveCost gather{start + links.hop, ring};
  return {.all_reduce = {start + 2 * links.hop, std::max(ring, sharp)},
          .all_gather = gather,
          .reduce_scatter = gather};
}

NodeNetwork node_network_of(const NetworkEntry& network, std::int64_t gpus_per_node) {
  const double adapters = static_cast<double>(network.adapters);
  return {.adapters = network.per_gpu ? network.adapters * gpus_per_node : network.adapters,
          .adapter_bandwidth = network.bandwidth * (1 / adapters),
          .share = network.efficiency,
          .hop = network.hop,
          .nodes_per_leaf = network.nodes_per_leaf,
          .oversubscription = network.oversubscription};
}

LinkSpec link_of(const NetworkEntry& network, std::int64_t gpus_per_node) {
  const double shares = network.per_gpu ? 1 : static_cast<double>(gpus_per_node);
  const BytesPerSecond bandwidth = network.bandwidth * (network.efficiency / shares);
  return {.all_reduce = {2 * network.hop, bandwidth},
          .all_gather = {network.hop, bandwidth},
          .reduce_scatter = {network.hop, bandwidth}};
}

ClusterSpec compose_cluster(const GpuEntry& gpu, const NetworkEntry& network, std::int64_t nodes,
                            std::int64_t gpus_per_node) {
  const NodeLinks links = node_links_of(gpu, gpus_per_node);
  return {.name = gpu.name,
          .device = gpu.device,
          .nodes = nodes,
          .devices_per_node = gpus_per_node,
          .intra_node = link_of(links, gpus_per_node),
          .inter_node = link_of(network, gpus_per_node),
          .node_links = links,
          .node_network = node_network_of(network, gpus_per_node),
          .network = network.name,
          .price = gpu.price,
          .overlap = gpu.overlap,
          .host_memory = gpu.host_memory,
          .host_memory_bandwidth = gpu.host_memory_bandwidth,
          .reserved_memory = gpu.reserved_memory,
          .source = fmt::format("gpu {}\n{}\nnetwork {}\n{}", gpu.name, gpu.source, network.name,
                                network.source)};
}

std::optional<std::string> gpu_of_driver(std::string_view driver_name) {
  for (const std::string& name : catalog_names("gpus")) {
    if (driver_name.find(load_gpu(name, "catalog").driver_name) != std::string_view::npos)
      return name;
  }
  return std::nullopt;
}

}  // namespace meshplan::planner
