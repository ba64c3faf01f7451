#include "planner/cost/collective_time.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <chrono>

#include "planner/cost/price.h"
#include "planner/validate/measured_collectives.h"

namespace meshplan::planner {
namespace {

using common::Bytes;
using common::BytesPerSecond;
using common::Seconds;

/// Round figures: 400 GB/s links of which rings reach half and SHARP three quarters, start 10 us,
/// hop 1 us; 8 adapters of 50 GB/s, all of it reached, hop 10 us.
const NodeLinks kLinks{.bandwidth = BytesPerSecond(400e9),
                       .ring_share = 0.5,
                       .sharp_share = 0.75,
                       .start = Seconds(10e-6),
                       .hop = Seconds(1e-6)};
const NodeNetwork kNetwork{
    .adapters = 8, .adapter_bandwidth = BytesPerSecond(50e9), .hop = Seconds(10e-6)};
const GroupPlace kNode{.ranks = 8, .ranks_in_node = 8, .nodes = 1, .ranks_per_node = 8};
const GroupPlace kFourNodes{.ranks = 32, .ranks_in_node = 8, .nodes = 4, .ranks_per_node = 8};

CollectiveTime on(const GroupPlace& place, CollectiveKind kind, double bytes,
                  const NodeLinks& links = kLinks, const NodeNetwork& network = kNetwork) {
  return collective_time(links, network, kind, Bytes(static_cast<std::int64_t>(bytes)), place);
}

TEST(CollectiveTime, OfALargeGatherIsARingOverTheSlowestLink) {
  const CollectiveTime node = on(kNode, CollectiveKind::kAllGather, 8e9);
  EXPECT_EQ(node.algorithm, CollectiveAlgorithm::kRing);
  EXPECT_EQ(node.protocol, CollectiveProtocol::kSimple);
  // 10 us + 7 steps of 20 us; 7/8 of 8 GB at 200 GB/s.
  EXPECT_DOUBLE_EQ(node.latency.value, 150e-6);
  EXPECT_DOUBLE_EQ(node.transfer.value, 35e-3);
  const CollectiveTime nodes = on(kFourNodes, CollectiveKind::kAllGather, 32e9);
  // 31 steps, 3 of them between nodes: 10 + 28 x 20 + 3 x 3.6 x 10 us; 31/32 of 32 GB at the
  // 200 GB/s of the links, below the adapters' 400.
  EXPECT_DOUBLE_EQ(nodes.latency.value, 678e-6);
  EXPECT_DOUBLE_EQ(nodes.transfer.value, 155e-3);
}

TEST(CollectiveTime, OfASmallGatherIsStepsOfTheLowLatencyProtocol) {
  const CollectiveTime time = on(kNode, CollectiveKind::kAllGather, 8000);
  EXPECT_EQ(time.protocol, CollectiveProtocol::kLowLatency);
  // 10 us + 7 steps of 1 us; 7000 bytes at half of 200 GB/s.
  EXPECT_DOUBLE_EQ(time.latency.value, 17e-6);
  EXPECT_DOUBLE_EQ(time.transfer.value, 0.07e-6);
}

TEST(CollectiveTime, OfALargeAllReduceInANodeIsThatOfItsSwitch) {
  const CollectiveTime sharp = on(kNode, CollectiveKind::kAllReduce, 8e9);
  EXPECT_EQ(sharp.algorithm, CollectiveAlgorithm::kSharp);
  // 9/8 of 8 GB at 300 GB/s.
  EXPECT_DOUBLE_EQ(sharp.transfer.value, 30e-3);
  NodeLinks without = kLinks;
  without.sharp_share = 0;
  const CollectiveTime ring = on(kNode, CollectiveKind::kAllReduce, 8e9, without);
  EXPECT_EQ(ring.algorithm, CollectiveAlgorithm::kRing);
  // 2 x 7/8 of 8 GB at 200 GB/s.
  EXPECT_DOUBLE_EQ(ring.transfer.value, 70e-3);
}

TEST(CollectiveTime, OfAnAllReduceOverNodesTakesTreesWhereStepsMatter) {
  NodeLinks without = kLinks;
  without.sharp_share = 0;
  const CollectiveTime tree = on(kFourNodes, CollectiveKind::kAllReduce, 8000, without);
  EXPECT_EQ(tree.algorithm, CollectiveAlgorithm::kTree);
  // Up and down: 7 steps in a node, 2 levels between nodes of 2 x 10 us: 10 + 14 + 80 us.
  EXPECT_DOUBLE_EQ(tree.latency.value, 104e-6);
  const CollectiveTime both = on(kFourNodes, CollectiveKind::kAllReduce, 8e9);
  EXPECT_EQ(both.algorithm, CollectiveAlgorithm::kHierarchical);
  // 9/8 of 8 GB at 300 GB/s in the node beside 16 GB at 400 GB/s between nodes.
  EXPECT_DOUBLE_EQ(both.transfer.value, 40e-3);
}

TEST(CollectiveTime, OfAnExchangeIsThatOfTheBusierTier) {
  // 7/32 of 32 GB at 200 GB/s; 24/32 of it at a rank's 50 GB/s.
  EXPECT_DOUBLE_EQ(on(kFourNodes, CollectiveKind::kAllToAll, 32e9).transfer.value, 480e-3);
  EXPECT_DOUBLE_EQ(on(kNode, CollectiveKind::kAllToAll, 8e9).transfer.value, 35e-3);
}

TEST(CollectiveTime, OfAMessageIsOneHop) {
  GroupPlace stages{.ranks = 4, .ranks_in_node = 1, .nodes = 4, .ranks_per_node = 8};
  const CollectiveTime far = on(stages, CollectiveKind::kSend, 50e6);
  // An eighth of 10 us, one hop of 10 us, 50 MB over the rank's adapter.
  EXPECT_DOUBLE_EQ(far.total().value, 1.25e-6 + 10e-6 + 1e-3);
  EXPECT_DOUBLE_EQ(on(kNode, CollectiveKind::kSend, 200e6).total().value, 1.25e-6 + 1e-6 + 1e-3);
}

TEST(CollectiveTime, SharesTheAdaptersAmongTheGroupsOfANode) {
  // Two ranks a node, as under tp 4: each group has a quarter of 400 GB/s.
  const GroupPlace place{.ranks = 8, .ranks_in_node = 2, .nodes = 4, .ranks_per_node = 8};
  EXPECT_DOUBLE_EQ(on(place, CollectiveKind::kAllGather, 8e9).transfer.value, 70e-3);
  NodeNetwork half = kNetwork;
  half.adapters = 4;
  EXPECT_DOUBLE_EQ(on(place, CollectiveKind::kAllGather, 8e9, kLinks, half).transfer.value, 140e-3);
}

TEST(CollectiveTime, PaysForUplinksThatManyNodesShare) {
  NodeNetwork network = kNetwork;
  network.nodes_per_leaf = 16;
  network.oversubscription = 4;
  // Neighbours: one of a leaf's 16 nodes sends over uplinks that carry 4.
  EXPECT_DOUBLE_EQ(uplink_slowdown(network, 1, 64), 1);
  // 8 nodes apart: half of the nodes, 8, over uplinks for 4.
  EXPECT_DOUBLE_EQ(uplink_slowdown(network, 8, 64), 2);
  // Further than a leaf: all 16.
  EXPECT_DOUBLE_EQ(uplink_slowdown(network, 32, 64), 4);
  // A group within its leaf.
  EXPECT_DOUBLE_EQ(uplink_slowdown(network, 8, 16), 1);
  // Pods of 64 nodes with a seventh of the bandwidth between them, as Llama 3's.
  network.nodes_per_pod = 64;
  network.pod_oversubscription = 7;
  EXPECT_DOUBLE_EQ(uplink_slowdown(network, 64, 128), 7);
  EXPECT_DOUBLE_EQ(uplink_slowdown(network, 32, 128), 4);
}

TEST(CollectiveTime, FindsTheGroupsOfAMesh) {
  DeviceMesh mesh;
  mesh.sizes[Axis::kDpReplicate] = 2;
  mesh.sizes[Axis::kDpShard] = 8;
  mesh.sizes[Axis::kTp] = 4;
  mesh.ranks_per_node = 8;
  const GroupPlace shards = place_of(mesh, Axis::kDpShard);
  EXPECT_EQ(shards.ranks, 8);
  EXPECT_EQ(shards.ranks_in_node, 2);
  EXPECT_EQ(shards.nodes, 4);
  EXPECT_EQ(shards.node_distance, 1);
  const GroupPlace replicas = place_of(mesh, Axis::kDpReplicate);
  EXPECT_EQ(replicas.ranks_in_node, 1);
  EXPECT_EQ(replicas.nodes, 2);
  EXPECT_EQ(replicas.node_distance, 4);
  EXPECT_EQ(place_of(mesh, Axis::kTp).nodes, 1);
}

RC_GTEST_PROP(CollectiveTime, NeverFallsWithBytes, ()) {
  const auto nodes = *rc::gen::element<std::int64_t>(1, 2, 5, 64, 2048);
  const auto in_node = *rc::gen::inRange<std::int64_t>(nodes == 1 ? 2 : 1, 9);
  const GroupPlace place{.ranks = nodes * in_node,
                         .ranks_in_node = in_node,
                         .nodes = nodes,
                         .node_distance = *rc::gen::inRange<std::int64_t>(1, 100),
                         .ranks_per_node = 8};
  const auto kind = *rc::gen::element(CollectiveKind::kAllReduce, CollectiveKind::kAllGather,
                                      CollectiveKind::kReduceScatter, CollectiveKind::kSend,
                                      CollectiveKind::kAllToAll);
  const auto bytes = *rc::gen::inRange<std::int64_t>(0, std::int64_t{1} << 40);
  const auto more = bytes + *rc::gen::inRange<std::int64_t>(0, std::int64_t{1} << 30);
  const double less = on(place, kind, static_cast<double>(bytes)).total().value;
  const double time = on(place, kind, static_cast<double>(more)).total().value;
  RC_ASSERT(less > 0);
  RC_ASSERT(less <= time);
}

/// Links that were measured are priced as they were before networks were described.
TEST(CollectiveTime, IsNotAskedForMeasuredLinks) {
  ClusterSpec cluster = load_cluster("h100-sxm", {.nodes = 2});
  DeviceMesh mesh;
  mesh.sizes[Axis::kDpShard] = 16;
  mesh.ranks_per_node = 8;
  Operation gather;
  gather.kind = OperationKind::kCollective;
  gather.collective = CollectiveKind::kAllGather;
  gather.axis = Axis::kDpShard;
  gather.bytes = Bytes(16'000'000);
  const auto seconds = [&] {
    return price(cluster, mesh, common::DataType::kBfloat16, gather).duration.value;
  };
  const double described = seconds();
  cluster.node_network.reset();
  const CollectiveCost& cost = cluster.inter_node.all_gather;
  EXPECT_DOUBLE_EQ(seconds(), 15 * cost.latency.value + 15e6 / cost.bandwidth.value);
  EXPECT_NE(seconds(), described);
}

/// The bar that the project set itself: 10 % by collective and size, of published collectives.
TEST(CollectiveTime, MeetsPublishedCollectivesWithinTenPercent) {
  const auto rows = validate_collectives(
      formats::CsvTable::read(MESHPLAN_SOURCE_DIR "/catalog/measurements/collectives.csv"));
  const CollectiveSummary summary = summarize(rows);
  EXPECT_EQ(summary.rows, 152u);
  for (const auto& [key, errors] : summary.sizes) {
    fmt::print("{}, {}: {} rows, median {:.1f} %, worst {:.0f} %\n", key.first,
               size_class_name(key.second), errors.rows, 100 * errors.median, 100 * errors.worst);
    EXPECT_LE(errors.median, 0.10) << key.first << ", " << size_class_name(key.second);
  }
  for (const auto& [name, errors] : summary.collectives) {
    fmt::print("{}: {} rows, {} left out, median {:.1f} %\n", name, errors.rows, errors.left_out,
               100 * errors.median);
    EXPECT_LE(errors.median, 0.10) << name;
  }
}

}  // namespace
}  // namespace meshplan::planner
