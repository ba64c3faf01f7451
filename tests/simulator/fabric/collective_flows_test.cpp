#include "simulator/fabric/collective_flows.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

namespace meshplan::simulator {
namespace {

using planner::CollectiveAlgorithm;
using planner::CollectiveKind;
using planner::CollectiveTime;
using planner::GroupPlace;

constexpr std::int64_t kBytes = std::int64_t{8} << 30;

planner::ClusterSpec h100(std::int64_t nodes) {
  return planner::load_cluster("h100-sxm", {.nodes = nodes});
}

/// Groups of `ranks` devices, `stride` apart, that fill the cluster.
std::vector<std::vector<std::int64_t>> groups(const planner::ClusterSpec& cluster,
                                              std::int64_t ranks, std::int64_t stride) {
  std::vector<std::vector<std::int64_t>> all;
  const std::int64_t world = planner::world_size(cluster);
  for (std::int64_t first = 0; first < world; ++first) {
    if (first / stride % ranks != 0) continue;
    std::vector<std::int64_t> devices;
    for (std::int64_t r = 0; r < ranks; ++r) devices.push_back(first + r * stride);
    all.push_back(devices);
  }
  return all;
}

GroupPlace place_of(const planner::ClusterSpec& cluster, std::int64_t ranks, std::int64_t stride) {
  planner::DeviceMesh mesh;
  mesh.sizes[planner::Axis::kDpShard] = ranks;
  mesh.sizes[planner::Axis::kTp] = stride;
  mesh.ranks_per_node = cluster.devices_per_node;
  return planner::place_of(mesh, planner::Axis::kDpShard);
}

/// Largest relative difference of the rates of all groups of this kind at once from the planner's.
double difference(const planner::ClusterSpec& cluster, CollectiveKind kind, std::int64_t ranks,
                  std::int64_t stride) {
  const CollectiveTime time =
      planner::collective_time(*cluster.node_links, *cluster.node_network, kind,
                               common::Bytes(kBytes), place_of(cluster, ranks, stride));
  const Fabric fabric(cluster);
  std::vector<ActiveCollective> collectives;
  for (const auto& devices : groups(cluster, ranks, stride))
    collectives.push_back({kind, time.algorithm, time.protocol, devices});
  double worst = 0;
  for (const double rate : collective_rates(fabric, collectives)) {
    const double transfer = static_cast<double>(kBytes) / rate;
    worst = std::max(worst, std::abs(transfer / time.transfer.value - 1));
  }
  return worst;
}

TEST(CollectiveFlows, AreAsFastAsThePlannersPriceWhereAllGroupsTalk) {
  double worst = 0;
  for (const CollectiveKind kind : {CollectiveKind::kAllReduce, CollectiveKind::kAllGather,
                                    CollectiveKind::kReduceScatter, CollectiveKind::kAllToAll}) {
    for (const auto& [ranks, stride] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {8, 1}, {4, 1}, {16, 1}, {32, 1}, {8, 4}, {4, 8}, {16, 2}}) {
      const double apart = difference(h100(4), kind, ranks, stride);
      EXPECT_LT(apart, 1e-9) << to_string(kind) << " " << ranks << " " << stride;
      worst = std::max(worst, apart);
    }
  }
  fmt::print("flows against the planner's prices: {:.1e} apart at most, tolerance 1e-9\n", worst);
}

/// 16,384 GPUs, tp 8: eight rings of 2,048 at once.
TEST(CollectiveFlows, AreThePlannersOnALargeCluster) {
  EXPECT_LT(difference(h100(2048), CollectiveKind::kAllGather, 2048, 8), 1e-9);
  EXPECT_LT(difference(h100(2048), CollectiveKind::kAllReduce, 2048, 8), 1e-9);
}

TEST(CollectiveFlows, OfAMeshWithoutSwitchAreThePlanners) {
  const planner::ClusterSpec cluster = planner::load_cluster("mi300x");
  EXPECT_LT(difference(cluster, CollectiveKind::kAllReduce, 2, 1), 1e-9);
  EXPECT_LT(difference(cluster, CollectiveKind::kAllReduce, 8, 1), 1e-9);
}

/// Replicas half of the cluster apart, on leaves of two nodes with a quarter of the uplinks.
TEST(CollectiveFlows, MeetInUplinksAsThePlannerSays) {
  planner::ClusterSpec cluster = h100(8);
  cluster.node_network->nodes_per_leaf = 2;
  cluster.node_network->oversubscription = 4;
  EXPECT_LT(difference(cluster, CollectiveKind::kAllGather, 2, 32), 1e-9);
  const auto slow = planner::collective_time(*cluster.node_links, *cluster.node_network,
                                             CollectiveKind::kAllGather, common::Bytes(kBytes),
                                             place_of(cluster, 2, 32));
  // Half of 8 GiB at a quarter of 47 GB/s.
  EXPECT_DOUBLE_EQ(slow.transfer.value, static_cast<double>(kBytes) / 2 / (47e9 / 4));
}

/// Two jobs' rings over the same rail of 47 GB/s: each device's rail is its own, so tp groups do
/// not meet there; two groups of one rank a node on the same devices do.
TEST(CollectiveFlows, ShareARailWhereTheyMeet) {
  const planner::ClusterSpec cluster = h100(2);
  const Fabric fabric(cluster);
  const ActiveCollective first{.kind = CollectiveKind::kAllGather,
                               .algorithm = CollectiveAlgorithm::kRing,
                               .protocol = planner::CollectiveProtocol::kSimple,
                               .devices = {0, 8}};
  ActiveCollective other = first;
  other.devices = {1, 9};
  // Half of the tensor over a rail of 47 GB/s: 94 GB/s.
  const std::vector<ActiveCollective> apart = {first, other};
  EXPECT_DOUBLE_EQ(collective_rates(fabric, apart)[0], 94e9);
  const std::vector<ActiveCollective> together = {first, first, other};
  const std::vector<double> rates = collective_rates(fabric, together);
  EXPECT_DOUBLE_EQ(rates[0], 47e9);
  EXPECT_DOUBLE_EQ(rates[1], 47e9);
  EXPECT_DOUBLE_EQ(rates[2], 94e9);
}

/// One node with half of its adapters' bandwidth slows every ring through it, and no other.
TEST(CollectiveFlows, SlowDownWithADegradedNode) {
  const planner::ClusterSpec cluster = h100(4);
  Fabric fabric(cluster);
  fabric.degrade_node(3, 0.5);
  const ActiveCollective healthy{.kind = CollectiveKind::kAllGather,
                                 .algorithm = CollectiveAlgorithm::kRing,
                                 .protocol = planner::CollectiveProtocol::kSimple,
                                 .devices = {0, 8}};
  ActiveCollective degraded = healthy;
  degraded.devices = {16, 24};
  const std::vector<ActiveCollective> both = {healthy, degraded};
  const std::vector<double> rates = collective_rates(fabric, both);
  EXPECT_DOUBLE_EQ(rates[0], 94e9);
  EXPECT_DOUBLE_EQ(rates[1], 47e9);
}

}  // namespace
}  // namespace meshplan::simulator
