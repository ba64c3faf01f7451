#include "planner/cluster/cluster_spec.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>

#include "common/error.h"
#include "planner/catalog/catalog.h"

namespace meshplan::planner {
namespace {

using common::Error;
using common::ErrorCode;
using common::Json;
using common::JsonObject;

constexpr std::int64_t kSchemaVersion = 1;
// Far beyond any machine, and small enough that no product or quotient of them leaves its type.
constexpr std::int64_t kMaxNodes = 1'000'000;
constexpr std::int64_t kMaxDevicesPerNode = 1024;
constexpr std::int64_t kMaxBytes = std::int64_t{1} << 60;
constexpr double kMaxRate = 1e24;
constexpr double kMaxSeconds = 3600.0;

[[noreturn]] void refuse(const JsonObject& object, const std::string& key, const std::string& why) {
  throw Error(ErrorCode::kInvalidInput, why, object.where() + "." + key);
}

double number_within(const JsonObject& object, const std::string& key, double min, double max) {
  const double number = object.number(key);
  if (number < min || number > max) {
    refuse(object, key, fmt::format("must be a number from {} to {}, is {}", min, max, number));
  }
  return number;
}

double rate(const JsonObject& object, const std::string& key) {
  return number_within(object, key, 1.0, kMaxRate);
}

common::Seconds seconds(const JsonObject& object, const std::string& key) {
  return common::Seconds(number_within(object, key, 0.0, kMaxSeconds));
}

DeviceKind read_device_kind(const JsonObject& object) {
  const std::string kind = object.text("kind");
  if (kind == "cpu") return DeviceKind::kCpu;
  if (kind == "gpu") return DeviceKind::kGpu;
  refuse(object, "kind", fmt::format("unknown kind '{}'; use cpu or gpu", kind));
}

MatmulEfficiency read_matmul(const JsonObject& object) {
  MatmulEfficiency matmul;
  matmul.ceiling = number_within(object, "ceiling", 1e-3, 1.0);
  matmul.half_flops = common::Flops(number_within(object, "half_flops", 0.0, kMaxRate));
  object.reject_unknown_keys();
  return matmul;
}

DeviceSpec read_device(const JsonObject& object) {
  DeviceSpec device;
  device.name = object.text("name");
  device.kind = read_device_kind(object);
  device.memory = common::Bytes(object.integer("memory_bytes", 1, kMaxBytes));
  device.float32_peak = common::FlopsPerSecond(rate(object, "float32_peak_flops_per_s"));
  device.bfloat16_peak = common::FlopsPerSecond(rate(object, "bfloat16_peak_flops_per_s"));
  device.matmul = read_matmul(object.object("matmul"));
  device.memory_bandwidth = common::BytesPerSecond(rate(object, "memory_bandwidth_bytes_per_s"));
  device.launch_overhead = seconds(object, "launch_overhead_s");
  object.reject_unknown_keys();
  return device;
}

CollectiveCost read_collective(const JsonObject& object) {
  CollectiveCost cost;
  cost.latency = seconds(object, "latency_s");
  cost.bandwidth = common::BytesPerSecond(rate(object, "bandwidth_bytes_per_s"));
  object.reject_unknown_keys();
  return cost;
}

LinkSpec read_link(const JsonObject& object) {
  LinkSpec link;
  link.all_reduce = read_collective(object.object("all_reduce"));
  link.all_gather = read_collective(object.object("all_gather"));
  link.reduce_scatter = read_collective(object.object("reduce_scatter"));
  object.reject_unknown_keys();
  return link;
}

Json device_json(const DeviceSpec& device) {
  return Json{
      {"name", device.name},
      {"kind", device.kind == DeviceKind::kCpu ? "cpu" : "gpu"},
      {"memory_bytes", device.memory.value},
      {"float32_peak_flops_per_s", device.float32_peak.value},
      {"bfloat16_peak_flops_per_s", device.bfloat16_peak.value},
      {"matmul",
       {{"ceiling", device.matmul.ceiling}, {"half_flops", device.matmul.half_flops.value}}},
      {"memory_bandwidth_bytes_per_s", device.memory_bandwidth.value},
      {"launch_overhead_s", device.launch_overhead.value}};
}

Json link_json(const LinkSpec& link) {
  Json json;
  for (const auto kind :
       {CollectiveKind::kAllReduce, CollectiveKind::kAllGather, CollectiveKind::kReduceScatter}) {
    json[to_string(kind)] = {{"latency_s", link[kind].latency.value},
                             {"bandwidth_bytes_per_s", link[kind].bandwidth.value}};
  }
  return json;
}

}  // namespace

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
  }
  return all_reduce;
}

std::int64_t world_size(const ClusterSpec& cluster) {
  return cluster.nodes * cluster.devices_per_node;
}

common::FlopsPerSecond matmul_peak(const DeviceSpec& device, common::DataType type) {
  return type == common::DataType::kFloat32 ? device.float32_peak : device.bfloat16_peak;
}

ClusterSpec read_cluster(const Json& json, const std::string& where) {
  const JsonObject object(json, where);
  if (const auto version = object.integer("schema_version"); version != kSchemaVersion) {
    refuse(object, "schema_version",
           fmt::format("must be {}, is {}; write the file with this version of meshplan",
                       kSchemaVersion, version));
  }
  ClusterSpec cluster;
  cluster.name = object.text("name");
  cluster.source = object.text("source");
  cluster.nodes = object.integer("nodes", 1, kMaxNodes);
  cluster.devices_per_node = object.integer("devices_per_node", 1, kMaxDevicesPerNode);
  cluster.device = read_device(object.object("device"));
  cluster.intra_node = read_link(object.object("intra_node"));
  cluster.inter_node = read_link(object.object("inter_node"));
  cluster.overlap = number_within(object, "overlap", 0.0, 1.0);
  cluster.reserved_memory =
      common::Bytes(object.integer("reserved_memory_bytes", 0, cluster.device.memory.value - 1));
  object.reject_unknown_keys();
  return cluster;
}

ClusterSpec load_cluster(const std::string& cluster) {
  if (const auto text = catalog_text("clusters", cluster)) {
    const std::string where = "catalog cluster " + cluster;
    return read_cluster(common::parse_json(*text, where), where);
  }
  const std::filesystem::path path(cluster);
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored)) {
    return read_cluster(common::read_json_file(path), path.string());
  }
  throw Error(ErrorCode::kInvalidInput,
              fmt::format("'{}' is neither a catalog name nor a cluster file; the catalog has {}",
                          cluster, fmt::join(catalog_names("clusters"), ", ")),
              "cluster");
}

Json to_json(const ClusterSpec& cluster) {
  return Json{{"schema_version", kSchemaVersion},
              {"name", cluster.name},
              {"source", cluster.source},
              {"nodes", cluster.nodes},
              {"devices_per_node", cluster.devices_per_node},
              {"device", device_json(cluster.device)},
              {"intra_node", link_json(cluster.intra_node)},
              {"inter_node", link_json(cluster.inter_node)},
              {"overlap", cluster.overlap},
              {"reserved_memory_bytes", cluster.reserved_memory.value}};
}

}  // namespace meshplan::planner
