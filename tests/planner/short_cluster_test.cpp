// Cluster files that name a GPU and a network of the catalog.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "common/error.h"
#include "planner/catalog/catalog.h"
#include "planner/cluster/gpu_catalog.h"
#include "tests/common/expect_error.h"

namespace meshplan::planner {
namespace {

using common::ErrorCode;
using common::Json;
using testing::AllOf;
using testing::HasSubstr;

ClusterSpec read(const Json& json) { return read_cluster(json, "cluster.json"); }

std::string complaint(const Json& json) {
  try {
    read(json);
    return "";
  } catch (const common::Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidInput);
    return error.what();
  }
}

const Json kShort = {
    {"gpu", "h100-sxm"}, {"nodes", 8}, {"gpus_per_node", 8}, {"network", "ib-ndr-400-per-gpu"}};

Json with(Json json, const Json& changes) {
  json.update(changes);
  return json;
}

TEST(ShortCluster, IsWhatTheCatalogHasOfItsNames) {
  const ClusterSpec cluster = read(kShort);
  EXPECT_EQ(cluster.device, load_gpu("h100-sxm", "test").device);
  EXPECT_EQ(cluster.node_links, node_links_of(load_gpu("h100-sxm", "test"), 8));
  EXPECT_EQ(cluster.intra_node, link_of(*cluster.node_links, 8));
  EXPECT_EQ(cluster.node_network, node_network_of(load_network("ib-ndr-400-per-gpu", "test"), 8));
  EXPECT_EQ(cluster.inter_node, link_of(load_network("ib-ndr-400-per-gpu", "test"), 8));
  EXPECT_EQ(world_size(cluster), 64);
  EXPECT_EQ(cluster.network, "ib-ndr-400-per-gpu");
  EXPECT_EQ(cluster.inter_node.all_gather.bandwidth.value, 47e9);
  EXPECT_EQ(cluster.device.float8_peak.value, 1979e12);
  EXPECT_EQ(cluster.device.power.value, 700);
  EXPECT_THAT(cluster.source, AllOf(HasSubstr("gpu h100-sxm"), HasSubstr("power_w: NVIDIA H100")));
}

TEST(ShortCluster, ReadsBackInFull) {
  for (const std::string& name : catalog_names("clusters")) {
    const ClusterSpec cluster = load_cluster(name);
    EXPECT_EQ(read(to_json(cluster)), cluster) << name;
    EXPECT_FALSE(to_json(cluster).contains("gpu"));
  }
}

TEST(ShortCluster, TakesTheUsualNodeWhereItSaysNoMore) {
  const ClusterSpec cluster = read({{"gpu", "a100-80gb-sxm"}});
  EXPECT_EQ(cluster.nodes, 1);
  EXPECT_EQ(cluster.devices_per_node, 8);
  EXPECT_EQ(cluster.network, "ib-hdr-200-per-gpu");
  EXPECT_EQ(cluster, load_cluster("a100-80gb-sxm"));
}

TEST(ShortCluster, SharesTheNetworkOfANodeAmongItsGpus) {
  const auto bandwidth = [](const char* network, std::int64_t gpus) {
    return link_of(load_network(network, "test"), gpus).all_reduce.bandwidth.value;
  };
  EXPECT_DOUBLE_EQ(bandwidth("efa-3200", 8), 2 * bandwidth("efa-3200", 16));
  EXPECT_DOUBLE_EQ(bandwidth("roce-400-per-gpu", 8), bandwidth("roce-400-per-gpu", 16));
  EXPECT_DOUBLE_EQ(bandwidth("efa-3200", 8), 0.94 * 50e9);
}

TEST(ShortCluster, MaySetAnyFieldOfTheFullFile) {
  const ClusterSpec plain = read(kShort);
  const ClusterSpec cluster =
      read(with(kShort, {{"name", "mine"},
                         {"price_per_gpu_hour", 1.25},
                         {"device", {{"memory_bytes", 80'000'000'000}}},
                         {"inter_node", {{"all_reduce", {{"bandwidth_bytes_per_s", 3e10}}}}}}));
  EXPECT_EQ(cluster.name, "mine");
  EXPECT_EQ(cluster.price.value, 1.25);
  EXPECT_EQ(cluster.device.memory.value, 80'000'000'000);
  EXPECT_EQ(cluster.device.bfloat16_peak, plain.device.bfloat16_peak);
  EXPECT_EQ(cluster.inter_node.all_reduce.bandwidth.value, 3e10);
  EXPECT_EQ(cluster.inter_node.all_reduce.latency, plain.inter_node.all_reduce.latency);
  EXPECT_EQ(cluster.inter_node.all_gather, plain.inter_node.all_gather);
  EXPECT_THAT(cluster.source, HasSubstr("set in the cluster file: {\"name\":\"mine\""));
}

/// Measured links are priced as measured; what the file says of the network is kept beside them.
TEST(ShortCluster, DescribesItsNetworkUnlessItIsMeasured) {
  const ClusterSpec plain = read(kShort);
  const ClusterSpec tree =
      read(with(kShort, {{"rails", 4}, {"oversubscription", 7}, {"nodes_per_leaf", 16}}));
  EXPECT_EQ(tree.node_network->adapters, 4);
  EXPECT_EQ(tree.node_network->adapter_bandwidth.value, 50e9);
  EXPECT_EQ(tree.node_network->oversubscription, 7);
  EXPECT_EQ(tree.node_network->nodes_per_leaf, 16);
  EXPECT_EQ(tree.node_links, plain.node_links);
  const Json measured = {{"inter_node", {{"all_reduce", {{"bandwidth_bytes_per_s", 3e10}}}}}};
  EXPECT_EQ(read(with(kShort, measured)).node_network, std::nullopt);
  EXPECT_EQ(read(with(kShort, measured)).node_links, plain.node_links);
  EXPECT_EQ(complaint(with(with(kShort, measured), {{"rails", 4}})),
            "cluster.json.rails: describes the network that inter_node measures; leave one out");
  EXPECT_THAT(complaint(with(kShort, {{"rails", 0}, {"oversubscription", 0.5}})),
              AllOf(HasSubstr("cluster.json.rails: must be an integer from 1 to 1024, is 0"),
                    HasSubstr("cluster.json.oversubscription: must be a number from 1 to 1000")));
  EXPECT_EQ(load_cluster("local-cpu", {.network = "ethernet-10"}).node_network, std::nullopt);
}

/// Boards of four without a switch: two of them share a third of the links.
TEST(ShortCluster, HasNoSwitchOnSmallBoards) {
  const auto links = [](std::int64_t gpus) {
    return *read({{"gpu", "h100-sxm"}, {"gpus_per_node", gpus}}).node_links;
  };
  EXPECT_TRUE(links(4).mesh);
  EXPECT_FALSE(links(8).mesh);
  EXPECT_DOUBLE_EQ(ring_bandwidth(links(4), 2, 4).value, 0.811 * 450e9 / 3);
  EXPECT_DOUBLE_EQ(ring_bandwidth(links(4), 4, 4).value, 0.811 * 450e9);
  EXPECT_EQ(sharp_bandwidth(links(4)).value, 0);
}

TEST(ShortCluster, RefusesWhatTheCatalogDoesNotHaveAllAtOnce) {
  EXPECT_THAT(
      complaint({{"gpu", "h900"}, {"nodes", 0}, {"gpus_per_node", 2000}, {"network", "wifi"}}),
      AllOf(HasSubstr("cluster.json: 4 things are wrong"),
            HasSubstr("cluster.json.gpu: 'h900' is no gpu of the catalog; use "
                      "a100-40gb-sxm, a100-80gb-sxm, b200-sxm, "),
            HasSubstr("cluster.json.nodes: must be an integer from 1 to 1000000, is 0"),
            HasSubstr("cluster.json.gpus_per_node: must be an integer from 1 to 1024, is "
                      "2000"),
            HasSubstr("cluster.json.network: 'wifi' is no network of the catalog; use "
                      "efa-3200, ")));
  EXPECT_THAT(complaint({{"gpu", "h900"},
                         {"colour", "red"},
                         {"price_per_gpu_hour", -3},
                         {"oversubscription", 0.5},
                         {"device", {{"power_w", "x"}}}}),
              AllOf(HasSubstr("5 things are wrong"), HasSubstr("cluster.json.gpu: 'h900'"),
                    HasSubstr("colour: unknown key"), HasSubstr("price_per_gpu_hour: must be"),
                    HasSubstr("oversubscription: must be"), HasSubstr("device.power_w: must be")));
  EXPECT_THAT(complaint({{"nodes", 7}}),
              HasSubstr("cluster.json.gpu: is missing; use a100-40gb-sxm, a100-80gb-sxm, "));
  EXPECT_THAT(complaint({{"gpu", 7}}), HasSubstr("cluster.json.gpu: must be a string, is 7"));
  EXPECT_EQ(complaint(with(kShort, {{"network", 7}})),
            "cluster.json.network: must be a string, is 7");
  EXPECT_EQ(complaint(with(kShort, {{"devices_per_node", 4}})),
            "cluster.json.devices_per_node: is for full cluster files; use gpus_per_node");
  EXPECT_THAT(complaint(with(kShort, {{"pirce_per_gpu_hour", 4}})),
              HasSubstr("cluster.json.pirce_per_gpu_hour: unknown key"));
  EXPECT_EQ(complaint(with(kShort, {{"price_per_gpu_hour", -4}})),
            "cluster.json.price_per_gpu_hour: must be a number from 0 to 1000000, is -4");
  EXPECT_EQ(complaint(with(kShort, {{"device", {{"memory_bytes", 0}}}})),
            "cluster.json.device.memory_bytes: must be an integer from 1 to 1152921504606846976, "
            "is 0");
  EXPECT_EQ(complaint(with(kShort, {{"schema_version", 2}})),
            "cluster.json.schema_version: must be 1, is 2; write the file with this version of "
            "meshplan");
}

TEST(ShortCluster, IsChangedBeforeItIsExpanded) {
  const ClusterSpec cluster =
      load_cluster("h100-sxm", {.nodes = 4, .devices_per_node = 4, .network = "efa-3200"});
  EXPECT_EQ(
      cluster,
      read({{"gpu", "h100-sxm"}, {"nodes", 4}, {"gpus_per_node", 4}, {"network", "efa-3200"}}));
  const ClusterSpec cpu = load_cluster("local-cpu", {.nodes = 2, .network = "ethernet-10"});
  EXPECT_EQ(cpu.nodes, 2);
  EXPECT_EQ(cpu.network, "ethernet-10");
  EXPECT_EQ(cpu.inter_node, link_of(load_network("ethernet-10", "test"), 4));
  EXPECT_EQ(cpu.intra_node, load_cluster("local-cpu").intra_node);
}

TEST(ShortCluster, RefusesChangesOutOfRangeAllAtOnce) {
  tests::expect_error(
      ErrorCode::kInvalidInput,
      [] { load_cluster("h100-sxm", {.nodes = 0, .devices_per_node = 5000, .network = "wifi"}); },
      "3 things are wrong", "nodes=0: must be from 1 to 1000000",
      "gpus_per_node=5000: must be from 1 to 1024",
      "network: 'wifi' is no network of the catalog; use efa-3200");
}

RC_GTEST_PROP(ShortCluster, AnyChangeOfAClusterFileIsReadOrRefusedAsInvalidInput, ()) {
  const std::vector<Json> values = {nullptr,
                                    true,
                                    -1,
                                    0,
                                    1,
                                    8,
                                    1e300,
                                    0.5,
                                    "",
                                    "gpu",
                                    "mi300x",
                                    "efa-3200",
                                    2.5,
                                    "cpu",
                                    Json::array(),
                                    Json::object(),
                                    1 << 30,
                                    1ll << 62,
                                    Json{{"name", 3}},
                                    Json::array({1})};
  const bool full = *rc::gen::arbitrary<bool>();
  Json json = full ? to_json(load_cluster(*rc::gen::elementOf(catalog_names("clusters")))) : kShort;
  if (!full) {
    for (const char* key : {"device", "intra_node", "overlap", "source", "kind"}) {
      if (*rc::gen::arbitrary<bool>()) json[key] = *rc::gen::elementOf(values);
    }
  }
  for (int i = 0; i < 3; ++i) {
    Json* object = &json;
    auto field = object->begin();
    std::advance(field, *rc::gen::inRange<std::ptrdiff_t>(0, std::ssize(*object)));
    if (field.value().is_object() && !field.value().empty() && *rc::gen::arbitrary<bool>()) {
      object = &field.value();
      field = object->begin();
      std::advance(field, *rc::gen::inRange<std::ptrdiff_t>(0, std::ssize(*object)));
    }
    field.value() = *rc::gen::elementOf(values);
  }
  try {
    const ClusterSpec cluster = read(json);
    RC_ASSERT(read(to_json(cluster)) == cluster);
  } catch (const common::Error& error) {
    RC_ASSERT(error.code() == ErrorCode::kInvalidInput);
    RC_ASSERT(std::string(error.what()).starts_with("cluster.json"));
  }
}

}  // namespace
}  // namespace meshplan::planner
