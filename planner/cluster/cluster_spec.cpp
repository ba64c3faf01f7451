#include "planner/cluster/cluster_spec.h"

namespace meshplan::planner {
namespace {

using common::Json;

constexpr std::int64_t kSchemaVersion = 1;

Json device_json(const DeviceSpec& device) {
  return Json{
      {"name", device.name},
      {"kind", device.kind == DeviceKind::kCpu ? "cpu" : "gpu"},
      {"memory_bytes", device.memory.value},
      {"float32_peak_flops_per_s", device.float32_peak.value},
      {"bfloat16_peak_flops_per_s", device.bfloat16_peak.value},
      {"float16_peak_flops_per_s", device.float16_peak.value},
      {"float8_peak_flops_per_s", device.float8_peak.value},
      {"matmul",
       {{"ceiling", device.matmul.ceiling}, {"half_flops", device.matmul.half_flops.value}}},
      {"attention_flops_per_s", device.attention_rate.value},
      {"memory_bandwidth_bytes_per_s", device.memory_bandwidth.value},
      {"launch_overhead_s", device.launch_overhead.value},
      {"power_w", device.power.value},
      {"host_bandwidth_bytes_per_s", device.host_bandwidth.value}};
}

Json link_json(const LinkSpec& link) {
  Json json;
  const auto write = [&](CollectiveKind kind) {
    json[to_string(kind)] = {{"latency_s", link[kind].latency.value},
                             {"bandwidth_bytes_per_s", link[kind].bandwidth.value}};
  };
  for (const auto kind :
       {CollectiveKind::kAllReduce, CollectiveKind::kAllGather, CollectiveKind::kReduceScatter}) {
    write(kind);
  }
  if (link.all_to_all) write(CollectiveKind::kAllToAll);
  return json;
}

Json node_links_json(const NodeLinks& links) {
  return Json{{"bandwidth_bytes_per_s", links.bandwidth.value},
              {"ring_share", links.ring_share},
              {"sharp_share", links.sharp_share},
              {"mesh", links.mesh},
              {"start_s", links.start.value},
              {"hop_s", links.hop.value}};
}

Json node_network_json(const NodeNetwork& network) {
  return Json{{"adapters", network.adapters},
              {"adapter_bandwidth_bytes_per_s", network.adapter_bandwidth.value},
              {"share", network.share},
              {"hop_s", network.hop.value},
              {"nodes_per_leaf", network.nodes_per_leaf},
              {"oversubscription", network.oversubscription},
              {"nodes_per_pod", network.nodes_per_pod},
              {"pod_oversubscription", network.pod_oversubscription},
              {"gather_crowding", network.gather_crowding},
              {"reduce_crowding", network.reduce_crowding}};
}

template <class Change>
void change_costs(LinkSpec& link, const Change& change) {
  for (CollectiveCost* cost : {&link.all_reduce, &link.all_gather, &link.reduce_scatter})
    change(*cost);
  if (link.all_to_all) change(*link.all_to_all);
}

void scale_bandwidth(LinkSpec& link, double factor) {
  change_costs(link, [factor](CollectiveCost& cost) { cost.bandwidth = factor * cost.bandwidth; });
}

}  // namespace

void scale_node_bandwidth(ClusterSpec& cluster, double factor) {
  scale_bandwidth(cluster.intra_node, factor);
  if (cluster.whole_node) scale_bandwidth(*cluster.whole_node, factor);
  if (cluster.node_links) cluster.node_links->bandwidth = factor * cluster.node_links->bandwidth;
}

void scale_network_bandwidth(ClusterSpec& cluster, double factor) {
  scale_bandwidth(cluster.inter_node, factor);
  if (cluster.node_network)
    cluster.node_network->adapter_bandwidth = factor * cluster.node_network->adapter_bandwidth;
}

void scale_latency(ClusterSpec& cluster, double factor) {
  const auto scale = [factor](CollectiveCost& cost) { cost.latency = factor * cost.latency; };
  for (LinkSpec* link : {&cluster.intra_node, &cluster.inter_node}) change_costs(*link, scale);
  if (cluster.whole_node) change_costs(*cluster.whole_node, scale);
  if (cluster.node_links) {
    cluster.node_links->start = factor * cluster.node_links->start;
    cluster.node_links->hop = factor * cluster.node_links->hop;
  }
  if (cluster.node_network) cluster.node_network->hop = factor * cluster.node_network->hop;
}

const char* to_string(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::kAllReduce:
      return "all_reduce";
    case CollectiveKind::kAllGather:
      return "all_gather";
    case CollectiveKind::kReduceScatter:
      return "reduce_scatter";
    case CollectiveKind::kSend:
      return "send";
    case CollectiveKind::kAllToAll:
      return "all_to_all";
  }
  return "all_reduce";
}

const CollectiveCost& LinkSpec::operator[](CollectiveKind kind) const {
  switch (kind) {
    case CollectiveKind::kAllReduce:
      return all_reduce;
    case CollectiveKind::kAllGather:
    case CollectiveKind::kSend:
      return all_gather;
    case CollectiveKind::kReduceScatter:
      return reduce_scatter;
    case CollectiveKind::kAllToAll:
      return all_to_all ? *all_to_all : all_gather;
  }
  return all_reduce;
}

std::int64_t world_size(const ClusterSpec& cluster) {
  return cluster.nodes * cluster.devices_per_node;
}

const LinkSpec& link_within_node(const ClusterSpec& cluster, std::int64_t ranks) {
  const bool is_whole = cluster.whole_node && ranks == cluster.devices_per_node;
  return is_whole ? *cluster.whole_node : cluster.intra_node;
}

common::FlopsPerSecond matmul_peak(const DeviceSpec& device, common::DataType type) {
  if (type == common::DataType::kFloat32) return device.float32_peak;
  if (type == common::DataType::kFloat8) return device.float8_peak;
  const bool own = type == common::DataType::kFloat16 && device.float16_peak.value > 0;
  return own ? device.float16_peak : device.bfloat16_peak;
}

Json to_json(const ClusterSpec& cluster) {
  Json json{{"schema_version", kSchemaVersion},
            {"name", cluster.name},
            {"source", cluster.source},
            {"nodes", cluster.nodes},
            {"devices_per_node", cluster.devices_per_node},
            {"device", device_json(cluster.device)},
            {"intra_node", link_json(cluster.intra_node)},
            {"inter_node", link_json(cluster.inter_node)},
            {"network", cluster.network},
            {"price_per_gpu_hour", cluster.price.value},
            {"overlap", cluster.overlap},
            {"host_memory_bytes", cluster.host_memory.value},
            {"host_memory_bandwidth_bytes_per_s", cluster.host_memory_bandwidth.value},
            {"reserved_memory_bytes", cluster.reserved_memory.value}};
  if (cluster.node_links) json["node_links"] = node_links_json(*cluster.node_links);
  if (cluster.node_network) json["node_network"] = node_network_json(*cluster.node_network);
  if (cluster.whole_node) json["whole_node"] = link_json(*cluster.whole_node);
  for (const auto& [name, value] : cluster.environment) json["environment"][name] = value;
  return json;
}

}  // namespace meshplan::planner
