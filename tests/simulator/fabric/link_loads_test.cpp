#include "simulator/fabric/link_loads.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace meshplan::simulator {
namespace {

using planner::Axis;
using planner::CollectiveKind;
using testing::ElementsAre;

constexpr std::int64_t kBytes = std::int64_t{8} << 30;

planner::ClusterSpec h100(std::int64_t nodes) {
  return planner::load_cluster("h100-sxm", {.nodes = nodes});
}

/// A collective over so many ranks, `stride` apart.
planner::DescribedCollective collective(const planner::ClusterSpec& cluster, CollectiveKind kind,
                                        std::int64_t ranks, std::int64_t stride,
                                        std::int64_t bytes = kBytes) {
  planner::DeviceMesh mesh;
  mesh.sizes[Axis::kDpShard] = ranks;
  mesh.sizes[Axis::kTp] = stride;
  mesh.ranks_per_node = cluster.devices_per_node;
  planner::Operation operation;
  operation.kind = planner::OperationKind::kCollective;
  operation.collective = kind;
  operation.axis = Axis::kDpShard;
  operation.bytes = common::Bytes(bytes);
  return planner::described_collective(cluster, mesh, operation).value();
}

LinkLoads loads_of(const planner::ClusterSpec& cluster, CollectiveKind kind, std::int64_t ranks,
                   std::int64_t stride) {
  return link_loads(collective(cluster, kind, ranks, stride), kind, common::Bytes(kBytes));
}

/// Relative difference of what the busiest link takes from the price's transfer.
double difference(const planner::ClusterSpec& cluster, CollectiveKind kind, std::int64_t ranks,
                  std::int64_t stride, std::int64_t bytes = kBytes) {
  const auto described = collective(cluster, kind, ranks, stride, bytes);
  const LinkLoads loads = link_loads(described, kind, common::Bytes(bytes));
  return std::abs(loads.transfer.value / described.time.transfer.value - 1);
}

/// Every algorithm and protocol, on fabrics of one tier to three.
TEST(LinkLoads, TakeTheBusiestLinkAsLongAsThePriceSays) {
  std::vector<planner::ClusterSpec> clusters = {h100(4), planner::load_cluster("mi300x"),
                                                planner::load_cluster("a100-40gb-sxm")};
  clusters[1].nodes = clusters[2].nodes = 4;
  clusters.push_back(h100(2048));
  clusters.back().node_network->oversubscription = 4;
  clusters.back().node_network->nodes_per_pod = 256;
  clusters.back().node_network->pod_oversubscription = 7;
  clusters.back().node_network->gather_crowding = 0.2;
  clusters.back().node_network->reduce_crowding = 0.3;
  double worst = 0;
  int compared = 0;
  for (const planner::ClusterSpec& cluster : clusters) {
    for (const CollectiveKind kind :
         {CollectiveKind::kAllReduce, CollectiveKind::kAllGather, CollectiveKind::kReduceScatter,
          CollectiveKind::kAllToAll, CollectiveKind::kSend}) {
      for (const std::int64_t ranks : {2, 4, 8, 16, 32, 2048}) {
        for (const std::int64_t stride : {1, 2, 4, 8, 256}) {
          if (ranks * stride > world_size(cluster)) continue;
          for (const std::int64_t bytes : {std::int64_t{1} << 12, std::int64_t{1} << 22, kBytes}) {
            const double apart = difference(cluster, kind, ranks, stride, bytes);
            EXPECT_LT(apart, 1e-9)
                << cluster.name << " " << to_string(kind) << " " << ranks << " " << stride;
            worst = std::max(worst, apart);
            ++compared;
          }
        }
      }
    }
  }
  EXPECT_GE(compared, 900);
  fmt::print("{} collectives: {:.1e} apart from the price's transfer at most, tolerance 1e-9\n",
             compared, worst);
}

/// tp within the node fills its port. A ring of one rank a node passes adapters alone, and one of
/// four ranks a node four of eight 47 GB/s adapters and as many bytes over each port, of which an
/// H100 reaches more.
TEST(LinkLoads, AreOnTheLinksThatTheBytesPass) {
  const planner::ClusterSpec cluster = h100(4);
  const LinkLoads tp = loads_of(cluster, CollectiveKind::kAllGather, 8, 1);
  EXPECT_THAT(tp.parts, ElementsAre(1, 0, 0, 0));
  EXPECT_DOUBLE_EQ(tp.rate, planner::ring_bandwidth(*cluster.node_links, 8, 8).value);
  const LinkLoads rail = loads_of(cluster, CollectiveKind::kAllGather, 4, 8);
  EXPECT_THAT(rail.parts, ElementsAre(0, 1, 0, 0));
  EXPECT_DOUBLE_EQ(rail.rate, 47e9);
  const LinkLoads both = loads_of(cluster, CollectiveKind::kAllGather, 16, 2);
  EXPECT_THAT(both.parts, ElementsAre(testing::DoubleEq(4 * 47e9 / tp.rate), 1, 0, 0));
}

/// Replicas half of the cluster apart, on leaves of two nodes with a quarter of the uplinks, fill
/// these and a quarter of their adapters; neighbours on them half of the uplinks.
TEST(LinkLoads, AreOnUplinksWhereALeafIsLeft) {
  planner::ClusterSpec cluster = h100(8);
  cluster.node_network->nodes_per_leaf = 2;
  cluster.node_network->oversubscription = 4;
  const LinkLoads far = loads_of(cluster, CollectiveKind::kAllGather, 2, 32);
  EXPECT_THAT(far.parts, ElementsAre(0, 0.25, 1, 0));
  EXPECT_DOUBLE_EQ(far.rate, 47e9 / 4);
  cluster.node_network->oversubscription = 1;
  EXPECT_THAT(loads_of(cluster, CollectiveKind::kAllGather, 8, 8).parts, ElementsAre(0, 1, 0.5, 0));
}

/// A pair of a mesh of eight has one of the seven links of each of its devices.
TEST(LinkLoads, OfAGroupOnAMeshLeaveTheOtherLinks) {
  const planner::ClusterSpec cluster = planner::load_cluster("mi300x");
  const LinkLoads pair = loads_of(cluster, CollectiveKind::kAllGather, 2, 1);
  EXPECT_DOUBLE_EQ(pair.parts[0], 1.0 / 7);
}

}  // namespace
}  // namespace meshplan::simulator
