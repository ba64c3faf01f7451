#include "planner/cluster/cluster_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <set>

#include "common/error.h"
#include "common/file.h"

namespace meshplan::planner {
namespace {

using common::Json;
using testing::AllOf;
using testing::HasSubstr;

/// What read_cluster says about the JSON; empty when it reads.
std::string complaint(const Json& json) {
  try {
    read_cluster(json, "cluster.json");
    return "";
  } catch (const common::Error& error) {
    EXPECT_EQ(error.code(), common::ErrorCode::kInvalidInput);
    return error.what();
  }
}

Json valid() { return to_json(load_cluster("h100-sxm")); }

/// Every key of the JSON, and of the objects in it, as a path.
std::vector<std::string> all_keys(const Json& json, const std::string& path = "") {
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) {
    keys.push_back(path + "/" + key);
    if (!value.is_object()) continue;
    for (std::string& inner : all_keys(value, keys.back())) keys.push_back(std::move(inner));
  }
  return keys;
}

/// Keys that files of earlier versions do not have, and those of a description that have a default.
bool is_optional(const std::string& key) {
  static const std::set<std::string> keys = {"/device/float16_peak_flops_per_s",
                                             "/device/float8_peak_flops_per_s",
                                             "/device/power_w",
                                             "/device/attention_flops_per_s",
                                             "/device/host_bandwidth_bytes_per_s",
                                             "/host_memory_bytes",
                                             "/host_memory_bandwidth_bytes_per_s",
                                             "/network",
                                             "/node_links",
                                             "/node_links/sharp_share",
                                             "/node_links/mesh",
                                             "/node_network",
                                             "/node_network/oversubscription",
                                             "/node_network/nodes_per_pod",
                                             "/node_network/pod_oversubscription",
                                             "/node_network/gather_crowding",
                                             "/node_network/reduce_crowding",
                                             "/price_per_gpu_hour"};
  return keys.contains(key);
}

TEST(ClusterSpec, KeepsAFigureOfAllToAllWhereThereIsOne) {
  Json json = valid();
  EXPECT_FALSE(json["intra_node"].contains("all_to_all"));
  json["intra_node"]["all_to_all"] = {{"latency_s", 2e-6}, {"bandwidth_bytes_per_s", 3e10}};
  const ClusterSpec cluster = read_cluster(json, "cluster.json");
  EXPECT_EQ(cluster.intra_node[CollectiveKind::kAllToAll].bandwidth.value, 3e10);
  EXPECT_EQ(cluster.inter_node[CollectiveKind::kAllToAll], cluster.inter_node.all_gather);
  EXPECT_EQ(to_json(cluster), json);
  json["intra_node"]["all_to_all"].erase("latency_s");
  EXPECT_THAT(complaint(json), HasSubstr("cluster.json.intra_node.all_to_all.latency_s"));
}

TEST(ClusterSpec, KeepsWhatAWholeNodeCostsWhereItIsMeasured) {
  Json json = valid();
  EXPECT_FALSE(to_json(read_cluster(json, "cluster.json")).contains("whole_node"));
  json["devices_per_node"] = 4;
  json["whole_node"] = json["intra_node"];
  json["whole_node"]["all_gather"]["latency_s"] = 0.25;
  const ClusterSpec cluster = read_cluster(json, "cluster.json");
  EXPECT_EQ(link_within_node(cluster, 4).all_gather.latency.value, 0.25);
  EXPECT_EQ(link_within_node(cluster, 2), cluster.intra_node);
  EXPECT_EQ(to_json(cluster), json);
}

TEST(ClusterSpec, KeepsTheEnvironmentThatItsRanksNeed) {
  Json json = valid();
  EXPECT_FALSE(to_json(read_cluster(json, "cluster.json")).contains("environment"));
  json["environment"] = {{"NCCL_SOCKET_IFNAME", "eth0"}, {"FI_PROVIDER", "efa"}};
  const ClusterSpec cluster = read_cluster(json, "cluster.json");
  ASSERT_EQ(cluster.environment.size(), 2U);
  EXPECT_EQ(cluster.environment[0],
            std::pair(std::string("NCCL_SOCKET_IFNAME"), std::string("eth0")));
  EXPECT_EQ(to_json(cluster), json);
  const Json in_short = {{"gpu", "h100-sxm"}, {"environment", {{"NCCL_IB_HCA", "mlx5"}}}};
  EXPECT_EQ(read_cluster(in_short, "cluster.json").environment.size(), 1U);
}

TEST(ClusterSpec, SetsVariablesOfCommunicationLibrariesAlone) {
  Json json = valid();
  json["environment"] = {{"LD_PRELOAD", "/tmp/evil.so"},
                         {"NCCL_", "x"},
                         {"NCCL_A=B", "x"},
                         {"nccl_debug", "x"},
                         {"NCCL_DEBUG", 1},
                         {"NCCL_NET", "two\nlines"},
                         {"NCCL_IB_HCA", std::string(1025, 'm')}};
  EXPECT_THAT(complaint(json),
              AllOf(HasSubstr("7 things are wrong"),
                    HasSubstr("cluster.json.environment.LD_PRELOAD: must be a variable of"),
                    HasSubstr("environment.NCCL_DEBUG: must be a text"),
                    HasSubstr("environment.NCCL_NET: must be one line of at most 1024 bytes")));
  json["environment"] = Json::object();
  for (int i = 0; i < 65; ++i) json["environment"]["NCCL_A" + std::to_string(i)] = "x";
  EXPECT_THAT(complaint(json), HasSubstr("must have at most 64 variables, has 65"));
  json["environment"] = "NCCL_DEBUG=INFO";
  EXPECT_THAT(complaint(json), HasSubstr("cluster.json.environment"));
}

std::string dotted(std::string path) {
  std::replace(path.begin(), path.end(), '/', '.');
  return "cluster.json" + path;
}

double any_number(double min, double max) {
  return min + (max - min) * *rc::gen::inRange<int>(0, 1'000'001) / 1'000'000.0;
}

LinkSpec any_link() {
  LinkSpec link;
  for (CollectiveCost* cost : {&link.all_reduce, &link.all_gather, &link.reduce_scatter}) {
    cost->latency = common::Seconds(any_number(0, 1));
    cost->bandwidth = common::BytesPerSecond(any_number(1, 1e13));
  }
  return link;
}

ClusterSpec any_cluster() {
  ClusterSpec cluster;
  cluster.name = *rc::gen::string<std::string>();
  // JSON is UTF-8, so names of arbitrary bytes are not in question.
  for (char& c : cluster.name) c = static_cast<char>(c & 0x7f);
  cluster.source = "measured";
  cluster.nodes = *rc::gen::inRange<std::int64_t>(1, 1'000'001);
  cluster.devices_per_node = *rc::gen::inRange<std::int64_t>(1, 1025);
  cluster.device.name = "device";
  cluster.device.kind = *rc::gen::element(DeviceKind::kCpu, DeviceKind::kGpu);
  cluster.device.memory = common::Bytes(*rc::gen::inRange<std::int64_t>(1, std::int64_t{1} << 50));
  cluster.device.float32_peak = common::FlopsPerSecond(any_number(1, 1e15));
  cluster.device.bfloat16_peak = common::FlopsPerSecond(any_number(1, 1e16));
  cluster.device.matmul = {any_number(0.001, 1), common::Flops(any_number(0, 1e12))};
  cluster.device.memory_bandwidth = common::BytesPerSecond(any_number(1, 1e13));
  cluster.device.launch_overhead = common::Seconds(any_number(0, 1));
  cluster.device.float16_peak = common::FlopsPerSecond(any_number(0, 1e16));
  cluster.device.float8_peak = common::FlopsPerSecond(any_number(0, 1e16));
  cluster.device.power = common::Watts(any_number(0, 2000));
  cluster.device.attention_rate = common::FlopsPerSecond(any_number(0, 1e16));
  cluster.device.host_bandwidth = common::BytesPerSecond(any_number(0, 1e12));
  cluster.host_memory = common::Bytes(*rc::gen::inRange<std::int64_t>(0, std::int64_t{1} << 50));
  cluster.host_memory_bandwidth = common::BytesPerSecond(any_number(0, 1e13));
  cluster.network = *rc::gen::element<std::string>("", "efa-3200", "my own");
  cluster.price = common::PricePerHour(any_number(0, 100));
  cluster.intra_node = any_link();
  cluster.inter_node = any_link();
  if (*rc::gen::arbitrary<bool>()) {
    cluster.node_links = {.bandwidth = common::BytesPerSecond(any_number(1, 1e13)),
                          .ring_share = any_number(0.001, 1),
                          .sharp_share = any_number(0, 1),
                          .mesh = *rc::gen::arbitrary<bool>(),
                          .start = common::Seconds(any_number(0, 1)),
                          .hop = common::Seconds(any_number(0, 1))};
  }
  if (*rc::gen::arbitrary<bool>()) {
    cluster.node_network = {.adapters = *rc::gen::inRange<std::int64_t>(1, 1025),
                            .adapter_bandwidth = common::BytesPerSecond(any_number(1, 1e13)),
                            .share = any_number(0.001, 1),
                            .hop = common::Seconds(any_number(0, 1)),
                            .nodes_per_leaf = *rc::gen::inRange<std::int64_t>(1, 1000),
                            .oversubscription = any_number(1, 1000),
                            .nodes_per_pod = *rc::gen::inRange<std::int64_t>(0, 1000),
                            .pod_oversubscription = any_number(1, 1000),
                            .gather_crowding = any_number(0, 2),
                            .reduce_crowding = any_number(0, 2)};
  }
  if (*rc::gen::arbitrary<bool>()) cluster.whole_node = any_link();
  cluster.overlap = any_number(0, 1);
  cluster.reserved_memory =
      common::Bytes(*rc::gen::inRange<std::int64_t>(0, cluster.device.memory.value));
  return cluster;
}

RC_GTEST_PROP(ClusterSpec, IsReadBackIdentically, ()) {
  const ClusterSpec cluster = any_cluster();
  const std::string text = to_json(cluster).dump();
  const ClusterSpec again = read_cluster(common::parse_json(text, "text"), "text");
  RC_ASSERT(again == cluster);
  RC_ASSERT(to_json(again).dump() == text);
}

TEST(ClusterSpec, NamesEveryMissingField) {
  for (const std::string& key : all_keys(valid())) {
    Json json = valid();
    Json::json_pointer pointer(key);
    json[pointer.parent_pointer()].erase(pointer.back());
    if (is_optional(key)) {
      EXPECT_EQ(complaint(json), "") << key;
    } else {
      EXPECT_THAT(complaint(json), HasSubstr(dotted(key) + ": is missing")) << key;
    }
  }
}

TEST(ClusterSpec, RefusesEveryFieldOfAnotherType) {
  for (const std::string& key : all_keys(valid())) {
    for (const Json& other : {Json(nullptr), Json(true), Json::array({1}), Json(-1)}) {
      Json json = valid();
      Json& value = json[Json::json_pointer(key)];
      if ((other.is_null() && is_optional(key)) || (other.is_boolean() && value.is_boolean()))
        continue;
      value = other;
      EXPECT_THAT(complaint(json), HasSubstr(dotted(key) + ": must be ")) << key << " " << other;
    }
  }
}

TEST(ClusterSpec, RefusesUnknownKeysInEveryObject) {
  for (const std::string path : {"", "/device", "/device/matmul", "/intra_node",
                                 "/inter_node/all_gather", "/node_links", "/node_network"}) {
    Json json = valid();
    json[Json::json_pointer(path + "/bandwith")] = 1;
    EXPECT_THAT(complaint(json), HasSubstr(dotted(path) + ".bandwith: unknown key"));
  }
}

TEST(ClusterSpec, RefusesValuesOutOfRange) {
  const std::vector<std::pair<std::string, Json>> cases = {
      {"/overlap", 1.01},
      {"/device/matmul/ceiling", 0},
      {"/device/matmul/ceiling", 1.5},
      {"/device/memory_bytes", 0},
      {"/device/memory_bandwidth_bytes_per_s", 0},
      {"/device/float32_peak_flops_per_s", std::numeric_limits<double>::infinity()},
      {"/device/launch_overhead_s", 1e9},
      {"/intra_node/all_reduce/bandwidth_bytes_per_s", 1e300},
      {"/inter_node/reduce_scatter/latency_s", std::numeric_limits<double>::quiet_NaN()},
      {"/nodes", 0},
      {"/nodes", 1'000'001},
      {"/devices_per_node", std::numeric_limits<std::uint64_t>::max()},
      {"/reserved_memory_bytes", valid()["device"]["memory_bytes"]},
      {"/schema_version", 2},
  };
  for (const auto& [key, value] : cases) {
    Json json = valid();
    json[Json::json_pointer(key)] = value;
    EXPECT_THAT(complaint(json), HasSubstr(dotted(key) + ": must be ")) << key << " " << value;
  }
  Json json = valid();
  json["overlap"] = 1.5;
  EXPECT_EQ(complaint(json), "cluster.json.overlap: must be a number from 0 to 1, is 1.5");
}

TEST(ClusterSpec, NamesAllThatIsWrongAtOnce) {
  Json json = valid();
  json["nodes"] = 0;
  json["device"]["kind"] = "tpu";
  json["device"]["matmul"]["ceiling"] = 2;
  json["device"].erase("memory_bytes");
  json["intra_node"]["all_gather"]["latency_s"] = -1;
  json["inter_node"] = "fast";
  json["overlap"] = "much";
  json["speed"] = 1;
  EXPECT_THAT(
      complaint(json),
      AllOf(HasSubstr("cluster.json: 8 things are wrong"),
            HasSubstr("cluster.json.nodes: must be an integer from 1 to 1000000, is 0"),
            HasSubstr("cluster.json.device.kind: unknown kind 'tpu'; use cpu or gpu"),
            HasSubstr("cluster.json.device.matmul.ceiling: must be a number from 0.001 to 1, is 2"),
            HasSubstr("cluster.json.device.memory_bytes: is missing; it must be an integer from 1"),
            HasSubstr("cluster.json.intra_node.all_gather.latency_s: must be a number from 0 to "
                      "3600, is -1"),
            HasSubstr("cluster.json.inter_node: must be an object, is \"fast\""),
            HasSubstr("cluster.json.overlap: must be a number from 0 to 1, is \"much\""),
            HasSubstr("cluster.json.speed: unknown key; known are: device, ")));
}

TEST(ClusterSpec, RefusesUnknownDeviceKinds) {
  Json json = valid();
  json["device"]["kind"] = "tpu";
  EXPECT_EQ(complaint(json), "cluster.json.device.kind: unknown kind 'tpu'; use cpu or gpu");
}

TEST(ClusterSpec, LoadsFromAFile) {
  const auto path = std::filesystem::path(testing::TempDir()) / "meshplan_cluster_spec_test.json";
  ClusterSpec cluster = load_cluster("local-cpu");
  cluster.name = "mine";
  common::write_file(path, to_json(cluster).dump());
  EXPECT_EQ(load_cluster(path.string()), cluster);
  std::filesystem::remove(path);
}

TEST(ClusterSpec, SaysWhatTheCatalogHasWhenItFindsNeither) {
  for (const char* name : {"h100", "", "/no/such/file.json", "/tmp", "/dev/zero"}) {
    try {
      load_cluster(name);
      FAIL() << name;
    } catch (const common::Error& error) {
      EXPECT_EQ(error.code(), common::ErrorCode::kInvalidInput);
      EXPECT_THAT(error.what(), HasSubstr("h100-sxm, h200-sxm, l40s, local-cpu"));
    }
  }
}

TEST(ClusterSpec, PicksPeaksAndCostsByTypeAndKind) {
  const ClusterSpec cluster = load_cluster("h100-sxm");
  const DeviceSpec& device = cluster.device;
  EXPECT_EQ(matmul_peak(device, common::DataType::kFloat32), device.float32_peak);
  EXPECT_EQ(matmul_peak(device, common::DataType::kBfloat16), device.bfloat16_peak);
  EXPECT_EQ(matmul_peak(device, common::DataType::kFloat16), device.bfloat16_peak);
  const LinkSpec& link = cluster.intra_node;
  EXPECT_EQ(link[CollectiveKind::kAllReduce], link.all_reduce);
  EXPECT_EQ(link[CollectiveKind::kAllGather], link.all_gather);
  EXPECT_EQ(link[CollectiveKind::kReduceScatter], link.reduce_scatter);
  EXPECT_EQ(world_size(cluster), 8);
}

}  // namespace
}  // namespace meshplan::planner
