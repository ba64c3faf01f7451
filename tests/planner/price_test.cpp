#include "planner/cost/price.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>

#include "tests/planner/random_plans.h"

namespace meshplan::planner {
namespace {

using common::Bytes;
using common::DataType;

CollectiveKind any_kind() {
  return *rc::gen::element(CollectiveKind::kAllReduce, CollectiveKind::kAllGather,
                           CollectiveKind::kReduceScatter);
}

RC_GTEST_PROP(Price, WireBytesAreWhatARingSends, ()) {
  const auto n = *rc::gen::inRange<std::int64_t>(1, 16'384);
  const auto bytes = *rc::gen::inRange<std::int64_t>(0, std::int64_t{1} << 48);
  const CollectiveKind kind = any_kind();
  const std::int64_t once = bytes * (n - 1) / n;
  const std::int64_t passes = kind == CollectiveKind::kAllReduce ? 2 : 1;
  RC_ASSERT(wire_bytes(kind, Bytes(bytes), n).value == passes * once);
}

RC_GTEST_PROP(Price, AnAllReduceSendsWhatAReduceScatterAndAnAllGatherSend, ()) {
  const auto n = *rc::gen::inRange<std::int64_t>(1, 1000);
  const Bytes bytes(*rc::gen::inRange<std::int64_t>(0, 1 << 30));
  RC_ASSERT(wire_bytes(CollectiveKind::kAllReduce, bytes, n) ==
            wire_bytes(CollectiveKind::kReduceScatter, bytes, n) +
                wire_bytes(CollectiveKind::kAllGather, bytes, n));
}

RC_GTEST_PROP(Price, AnAxisSpansNodesIfOneOfItsGroupsDoes, ()) {
  DeviceMesh mesh;
  for (Axis axis : kMeshAxes) mesh.sizes[axis] = *rc::gen::inRange<std::int64_t>(1, 5);
  // Every node is full, as the rules have it.
  const std::int64_t world = world_size(mesh);
  do {
    mesh.ranks_per_node = *rc::gen::inRange<std::int64_t>(1, world + 1);
  } while (world % mesh.ranks_per_node != 0);
  for (Axis axis : kMeshAxes) {
    bool spans = false;
    for (std::int64_t rank = 0; rank < world; ++rank) {
      for (std::int64_t peer : group_of(mesh, axis, rank)) {
        spans |= node_of(mesh, peer) != node_of(mesh, rank);
        // Slices are shared over cp, too.
        if (axis != Axis::kDpShard) continue;
        for (std::int64_t other : group_of(mesh, Axis::kCp, peer))
          spans |= node_of(mesh, other) != node_of(mesh, rank);
      }
    }
    RC_ASSERT(spans_nodes(mesh, axis) == spans);
  }
}

/// A cluster of round figures: 1 TFLOP/s, 1 GB/s of memory, and links of 1 and 0.1 GB/s.
ClusterSpec round_cluster() {
  ClusterSpec cluster;
  cluster.device.float32_peak = common::FlopsPerSecond(1e12);
  cluster.device.bfloat16_peak = common::FlopsPerSecond(4e12);
  cluster.device.matmul = {.ceiling = 0.5, .half_flops = common::Flops(1e9)};
  cluster.device.memory_bandwidth = common::BytesPerSecond(1e9);
  cluster.device.launch_overhead = common::Seconds(1e-6);
  cluster.overlap = 0.75;
  const auto link = [](double latency, double bandwidth) {
    const CollectiveCost cost{common::Seconds(latency), common::BytesPerSecond(bandwidth)};
    return LinkSpec{cost, cost, cost};
  };
  cluster.intra_node = link(1e-5, 1e9);
  cluster.inter_node = link(1e-4, 1e8);
  return cluster;
}

Operation collective(CollectiveKind kind, Axis axis, Stream stream) {
  Operation operation;
  operation.kind = OperationKind::kCollective;
  operation.stream = stream;
  operation.collective = kind;
  operation.axis = axis;
  operation.bytes = Bytes(8'000'000);
  return operation;
}

TEST(Price, OfAKernelIsTheHigherOfTheTwoRoofsAndTheLaunch) {
  const ClusterSpec cluster = round_cluster();
  const DeviceMesh mesh;
  Operation kernel{.flops = common::Flops(1e9), .bytes = Bytes(1000)};
  // Half of half of the peak, at the size of half efficiency: 1e9 / 0.25e12.
  EXPECT_DOUBLE_EQ(price(cluster, mesh, DataType::kFloat32, kernel).duration.value, 1e-6 + 4e-3);
  EXPECT_DOUBLE_EQ(price(cluster, mesh, DataType::kBfloat16, kernel).duration.value, 1e-6 + 1e-3);
  kernel.bytes = Bytes(10'000'000);
  EXPECT_DOUBLE_EQ(price(cluster, mesh, DataType::kFloat32, kernel).duration.value, 1e-6 + 1e-2);
  kernel.flops = {};
  EXPECT_DOUBLE_EQ(price(cluster, mesh, DataType::kFloat32, kernel).duration.value, 1e-6 + 1e-2);
  EXPECT_EQ(price(cluster, mesh, DataType::kFloat32, kernel).taken_from_compute.value, 0);
}

TEST(Price, OfAttentionIsAtItsOwnRateWhereThatIsTheLower) {
  ClusterSpec cluster = round_cluster();
  Operation kernel{.kernel = KernelKind::kAttention, .flops = common::Flops(1e9), .bytes = {}};
  const auto seconds = [&] {
    return price(cluster, {}, DataType::kFloat32, kernel).duration.value;
  };
  const double as_a_multiply = 1e-6 + 4e-3;
  EXPECT_DOUBLE_EQ(seconds(), as_a_multiply);
  cluster.device.attention_rate = common::FlopsPerSecond(1e11);
  EXPECT_DOUBLE_EQ(seconds(), 1e-6 + 1e-2);
  cluster.device.attention_rate = common::FlopsPerSecond(1e13);
  EXPECT_DOUBLE_EQ(seconds(), as_a_multiply);
  kernel.kernel = KernelKind::kMatmul;
  cluster.device.attention_rate = common::FlopsPerSecond(1e11);
  EXPECT_DOUBLE_EQ(seconds(), as_a_multiply);
}

TEST(Price, OfACollectiveIsLatencyAndRingBandwidthOfTheLinkSpanned) {
  const ClusterSpec cluster = round_cluster();
  DeviceMesh mesh;
  mesh.sizes[Axis::kTp] = 4;
  mesh.sizes[Axis::kDpShard] = 2;
  mesh.ranks_per_node = 4;
  const Price tp = price(cluster, mesh, DataType::kFloat32,
                         collective(CollectiveKind::kAllReduce, Axis::kTp, Stream::kTp));
  // 3 latencies within the node; 2 x 3/4 x 8 MB.
  EXPECT_DOUBLE_EQ(tp.duration.value, 3e-5 + 1.2e-2);
  EXPECT_DOUBLE_EQ(tp.taken_from_compute.value, 0.25 * tp.duration.value);
  const Price gather =
      price(cluster, mesh, DataType::kFloat32,
            collective(CollectiveKind::kAllGather, Axis::kDpShard, Stream::kGather));
  EXPECT_DOUBLE_EQ(gather.duration.value, 1e-4 + 4e-2);
}

TEST(Price, OfAGroupedMultiplyReachesTheRateOfOneOfItsGroup) {
  Operation kernel{.groups = 4, .flops = common::Flops(4e9), .bytes = Bytes(1000)};
  // Each of the four has the size of half efficiency.
  EXPECT_DOUBLE_EQ(price(round_cluster(), {}, DataType::kFloat32, kernel).duration.value,
                   1e-6 + 4 * 4e-3);
}

/// Without a figure of its own an exchange costs what an all-gather of the same ranks does.
TEST(Price, OfAnExchangeIsThatOfAnAllGatherUnlessItIsKnown) {
  ClusterSpec cluster = round_cluster();
  DeviceMesh mesh;
  mesh.sizes[Axis::kDpShard] = 8;
  mesh.sizes[Axis::kTp] = 2;
  mesh.ranks_per_node = 8;
  mesh.expert_parallel = 4;
  const auto exchange = [&] {
    return price(cluster, mesh, DataType::kFloat32,
                 collective(CollectiveKind::kAllToAll, Axis::kEp, Stream::kEp))
        .duration.value;
  };
  // 3 latencies within the node; 3/4 x 8 MB.
  EXPECT_DOUBLE_EQ(exchange(), 3e-5 + 6e-3);
  EXPECT_FALSE(spans_nodes(mesh, Axis::kEp));
  EXPECT_TRUE(spans_nodes(mesh, Axis::kExpertShard));
  cluster.intra_node.all_to_all = {common::Seconds(1e-6), common::BytesPerSecond(2e9)};
  EXPECT_DOUBLE_EQ(exchange(), 3e-6 + 3e-3);
  mesh.expert_parallel = 8;
  EXPECT_TRUE(spans_nodes(mesh, Axis::kEp));
  EXPECT_DOUBLE_EQ(exchange(), 7e-4 + 7e-2);
}

TEST(Price, ACollectiveOnTheComputeStreamTakesNothingTwice) {
  const Price price =
      planner::price(round_cluster(), {}, DataType::kFloat32,
                     collective(CollectiveKind::kAllReduce, Axis::kDpShard, Stream::kCompute));
  EXPECT_EQ(price.taken_from_compute.value, 0);
}

TEST(Price, WaitsAllocationsAndFreesCostNothing) {
  for (OperationKind kind :
       {OperationKind::kWait, OperationKind::kAllocate, OperationKind::kFree}) {
    Operation operation;
    operation.kind = kind;
    operation.bytes = Bytes(1'000'000);
    EXPECT_EQ(price(round_cluster(), {}, DataType::kFloat32, operation).duration.value, 0);
  }
}

}  // namespace
}  // namespace meshplan::planner
