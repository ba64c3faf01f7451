#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>

#include "common/error.h"
#include "planner/catalog/catalog.h"
#include "planner/cluster/cluster_fields.h"
#include "planner/cluster/gpu_catalog.h"

namespace meshplan::planner {
namespace {

using common::Complaints;
using common::Error;
using common::ErrorCode;
using common::FlopsPerSecond;
using common::Json;
using common::JsonObject;

/// The keys of a short cluster file that are its own; all others are of the full file.
constexpr const char* kGpu = "gpu";
constexpr const char* kNodes = "nodes";
constexpr const char* kGpusPerNode = "gpus_per_node";
constexpr const char* kNetwork = "network";

/// Keys of a short cluster file that say how its network differs from the catalog's, and what they
/// set of node_network.
struct NetworkKey {
  const char* key;
  const char* field;
};
constexpr std::array kNetworkKeys = {NetworkKey{"rails", "adapters"},
                                     NetworkKey{"oversubscription", "oversubscription"},
                                     NetworkKey{"nodes_per_leaf", "nodes_per_leaf"}};

bool is_short(const Json& json) { return json.is_object() && json.contains(kGpu); }

DeviceKind read_device_kind(const ClusterFields& fields) {
  const std::string kind = fields.text("kind");
  if (!kind.empty() && kind != "cpu" && kind != "gpu") {
    fields.complaints().add(fields.json().where() + ".kind",
                            fmt::format("unknown kind '{:.60}'; use cpu or gpu", kind));
  }
  return kind == "cpu" ? DeviceKind::kCpu : DeviceKind::kGpu;
}

DeviceSpec read_device(const ClusterFields& fields) {
  DeviceSpec device;
  device.name = fields.text("name");
  device.kind = read_device_kind(fields);
  device.memory = common::Bytes(fields.integer("memory_bytes", 1, kMaxBytes));
  device.float32_peak = FlopsPerSecond(fields.rate("float32_peak_flops_per_s"));
  device.bfloat16_peak = FlopsPerSecond(fields.rate("bfloat16_peak_flops_per_s"));
  device.float16_peak = FlopsPerSecond(fields.rate_or_none("float16_peak_flops_per_s"));
  device.float8_peak = FlopsPerSecond(fields.rate_or_none("float8_peak_flops_per_s"));
  device.matmul = fields.matmul("matmul");
  device.attention_rate = FlopsPerSecond(fields.rate_or_none("attention_flops_per_s"));
  device.memory_bandwidth = common::BytesPerSecond(fields.rate("memory_bandwidth_bytes_per_s"));
  device.launch_overhead = fields.seconds("launch_overhead_s");
  device.power = common::Watts(fields.number_or("power_w", 0, 0, kMaxPower));
  device.host_bandwidth = common::BytesPerSecond(fields.rate_or_none("host_bandwidth_bytes_per_s"));
  return device;
}

ClusterSpec read_whole(const Json& json, const std::string& where, Complaints& complaints) {
  const JsonObject object(json, where);
  const ClusterFields fields(object, complaints);
  check_schema_version(fields);
  ClusterSpec cluster;
  cluster.name = fields.text("name");
  cluster.source = fields.text("source");
  cluster.nodes = fields.integer("nodes", 1, kMaxNodes);
  cluster.devices_per_node = fields.integer("devices_per_node", 1, kMaxDevicesPerNode);
  cluster.device = fields.object("device", read_device);
  cluster.intra_node = fields.link("intra_node");
  cluster.inter_node = fields.link("inter_node");
  cluster.node_links = fields.node_links("node_links");
  cluster.node_network = fields.node_network("node_network");
  if (!fields.json().is_null("whole_node")) cluster.whole_node = fields.link("whole_node");
  cluster.network = fields.text_or("network", "");
  cluster.price = common::PricePerHour(fields.number_or("price_per_gpu_hour", 0, 0, kMaxPrice));
  cluster.overlap = fields.number("overlap", 0.0, 1.0);
  if (!fields.json().is_null("host_memory_bytes"))
    cluster.host_memory = common::Bytes(fields.integer("host_memory_bytes", 0, kMaxBytes));
  cluster.host_memory_bandwidth =
      common::BytesPerSecond(fields.rate_or_none("host_memory_bandwidth_bytes_per_s"));
  const std::int64_t memory = cluster.device.memory.value;
  cluster.reserved_memory = common::Bytes(
      fields.integer("reserved_memory_bytes", 0, memory > 0 ? memory - 1 : kMaxBytes));
  cluster.environment = fields.environment("environment");
  fields.reject_unknown_keys();
  return cluster;
}

/// The cluster that the short keys name. Where they name none, one of the catalog stands in, so
/// that the other keys can be checked all the same.
ClusterSpec composed(const ClusterFields& fields) {
  Complaints& complaints = fields.complaints();
  const JsonObject& object = fields.json();
  const auto at = [&object](const char* key) { return object.where() + "." + key; };
  const std::string gpu_name = fields.text(kGpu);
  std::optional<GpuEntry> gpu;
  if (object.at(kGpu).is_string())
    gpu = complaints.of([&] { return std::optional(load_gpu(gpu_name, at(kGpu))); });
  const std::int64_t nodes = object.is_null(kNodes) ? 1 : fields.integer(kNodes, 1, kMaxNodes);
  const std::int64_t gpus = object.is_null(kGpusPerNode)
                                ? (gpu ? gpu->gpus_per_node : 1)
                                : fields.integer(kGpusPerNode, 1, kMaxDevicesPerNode);
  const std::string name = fields.text_or(kNetwork, gpu ? gpu->network : "");
  std::optional<NetworkEntry> network;
  if (object.is_null(kNetwork) ? gpu.has_value() : object.at(kNetwork).is_string())
    network = complaints.of([&] { return std::optional(load_network(name, at(kNetwork))); });
  if (object.has("devices_per_node")) {
    complaints.add(at("devices_per_node"), "is for full cluster files; use gpus_per_node");
  }
  if (!gpu) gpu = load_gpu(catalog_names("gpus").front(), "catalog");
  if (!network) network = load_network(gpu->network, "catalog");
  return compose_cluster(*gpu, *network, std::max<std::int64_t>(1, nodes),
                         std::max<std::int64_t>(1, gpus));
}

/// What is measured is not described as well, unless the file does both.
void drop_description(Json& whole, const Json& changes, const char* measured,
                      const char* described) {
  if (changes.contains(measured) && !changes.contains(described)) whole.erase(described);
}

/// Moves the keys for the network from `changes` into node_network of `whole`.
void set_network(Json& whole, Json& changes, const ClusterFields& fields) {
  for (const auto& [key, field] : kNetworkKeys) {
    if (!changes.contains(key)) continue;
    const bool factor = std::string_view(key) == "oversubscription";
    const std::int64_t most = std::string_view(key) == "rails" ? kMaxAdapters : kMaxNodes;
    const double value = factor ? fields.number(key, 1, kMaxOversubscription)
                                : static_cast<double>(fields.integer(key, 1, most));
    changes.erase(key);
    if (!whole.contains("node_network")) {
      fields.complaints().add(fields.json().where() + "." + key,
                              "describes the network that inter_node measures; leave one out");
    } else if (value > 0 && factor) {
      whole["node_network"][field] = value;
    } else if (value > 0) {
      whole["node_network"][field] = static_cast<std::int64_t>(value);
    }
  }
}

ClusterSpec read_short(const Json& json, const std::string& where, Complaints& complaints) {
  const JsonObject object(json, where);
  const ClusterFields fields(object, complaints);
  const ClusterSpec cluster = composed(fields);
  Json changes = json;
  for (const char* key : {kGpu, kNodes, kGpusPerNode, kNetwork, "devices_per_node"})
    changes.erase(key);
  if (changes.empty()) return cluster;
  Json whole = to_json(cluster);
  if (!changes.contains("source"))
    whole["source"] = "set in the cluster file: " + changes.dump() + "\n" + cluster.source;
  drop_description(whole, changes, "intra_node", "node_links");
  drop_description(whole, changes, "inter_node", "node_network");
  set_network(whole, changes, fields);
  whole.merge_patch(changes);
  return read_whole(whole, where, complaints);
}

/// A full cluster with what is changed of it.
void change(ClusterSpec& cluster, const ClusterChanges& changes) {
  if (changes.nodes) cluster.nodes = *changes.nodes;
  if (changes.devices_per_node && *changes.devices_per_node != cluster.devices_per_node) {
    cluster.devices_per_node = *changes.devices_per_node;
    cluster.whole_node.reset();
  }
  if (changes.price) cluster.price = common::PricePerHour(*changes.price);
  if (!changes.network) return;
  const NetworkEntry network = load_network(*changes.network, kNetwork);
  cluster.inter_node = link_of(network, cluster.devices_per_node);
  // The algorithms that a description is priced by are those of GPUs.
  if (cluster.device.kind == DeviceKind::kGpu)
    cluster.node_network = node_network_of(network, cluster.devices_per_node);
  cluster.network = network.name;
}

void check(const ClusterChanges& changes) {
  Complaints complaints;
  const auto within = [&complaints](const char* name, std::optional<std::int64_t> size,
                                    std::int64_t max) {
    if (size && (*size < 1 || *size > max))
      complaints.add("", fmt::format("{}={}: must be from 1 to {}", name, *size, max));
  };
  within("nodes", changes.nodes, kMaxNodes);
  within("gpus_per_node", changes.devices_per_node, kMaxDevicesPerNode);
  if (changes.network) complaints.of([&] { return load_network(*changes.network, kNetwork); });
  if (changes.price && !(*changes.price > 0 && *changes.price <= kMaxPrice))
    complaints.add(
        "", fmt::format("gpu_price={}: must be above 0 and at most {}", *changes.price, kMaxPrice));
  complaints.throw_if_any("cluster");
}

ClusterSpec read_changed(Json json, const std::string& where, const ClusterChanges& changes) {
  check(changes);
  if (!is_short(json)) {
    ClusterSpec cluster = read_cluster(json, where);
    change(cluster, changes);
    return cluster;
  }
  if (changes.nodes) json[kNodes] = *changes.nodes;
  if (changes.devices_per_node) json[kGpusPerNode] = *changes.devices_per_node;
  if (changes.network) json[kNetwork] = *changes.network;
  if (changes.price) json["price_per_gpu_hour"] = *changes.price;
  return read_cluster(json, where);
}

}  // namespace

ClusterSpec read_cluster(const Json& json, const std::string& where) {
  Complaints complaints;
  if (json.is_object() && !json.contains(kGpu) && !json.contains("device") &&
      !json.contains("intra_node")) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("is missing; use {}, or describe the cluster in full, with \"device\" "
                            "(docs/clusters.md)",
                            fmt::join(catalog_names("gpus"), ", ")),
                where + "." + kGpu);
  }
  const ClusterSpec cluster =
      is_short(json) ? read_short(json, where, complaints) : read_whole(json, where, complaints);
  complaints.throw_if_any(where);
  return cluster;
}

ClusterSpec load_cluster(const std::string& cluster, const ClusterChanges& changes) {
  if (const auto text = catalog_text("clusters", cluster)) {
    const std::string where = "catalog cluster " + cluster;
    return read_changed(common::parse_json(*text, where), where, changes);
  }
  const std::filesystem::path path(cluster);
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored)) {
    return read_changed(common::read_json_file(path), path.string(), changes);
  }
  if (const auto similar = similar_catalog_name("clusters", cluster))
    return load_cluster(*similar, changes);
  throw Error(ErrorCode::kInvalidInput,
              fmt::format("'{:.300}' is neither a catalog name nor a cluster file; the catalog has "
                          "{}",
                          cluster, fmt::join(catalog_names("clusters"), ", ")),
              "cluster");
}

}  // namespace meshplan::planner
