#include "planner/layout/device_mesh.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <set>

namespace meshplan::planner {
namespace {

DeviceMesh any_mesh() {
  DeviceMesh mesh;
  for (Axis axis : kMeshAxes) mesh.sizes[axis] = *rc::gen::inRange<std::int64_t>(1, 5);
  mesh.ranks_per_node = *rc::gen::inRange<std::int64_t>(1, 17);
  return mesh;
}

Axis any_axis() { return *rc::gen::elementOf(kMeshAxes); }

RC_GTEST_PROP(DeviceMesh, RanksAndCoordinatesAreOneToOne, ()) {
  const DeviceMesh mesh = any_mesh();
  for (std::int64_t rank = 0; rank < world_size(mesh); ++rank) {
    const AxisSizes at = coordinates_of(mesh, rank);
    for (Axis axis : kMeshAxes) RC_ASSERT(at[axis] >= 0 && at[axis] < mesh.sizes[axis]);
    RC_ASSERT(rank_at(mesh, at) == rank);
  }
}

RC_GTEST_PROP(DeviceMesh, WorldSizeIsTheProductOfAllAxes, ()) {
  const DeviceMesh mesh = any_mesh();
  const AxisSizes& sizes = mesh.sizes;
  RC_ASSERT(world_size(mesh) == sizes[Axis::kPp] * sizes[Axis::kDpReplicate] *
                                    sizes[Axis::kDpShard] * sizes[Axis::kCp] * sizes[Axis::kTp]);
}

RC_GTEST_PROP(DeviceMesh, GroupsOfAnAxisPartitionTheRanks, ()) {
  const DeviceMesh mesh = any_mesh();
  const Axis axis = any_axis();
  std::set<std::vector<std::int64_t>> groups;
  for (std::int64_t rank = 0; rank < world_size(mesh); ++rank) {
    const std::vector<std::int64_t> group = group_of(mesh, axis, rank);
    RC_ASSERT(std::count(group.begin(), group.end(), rank) == 1);
    groups.insert(group);
  }
  std::vector<std::int64_t> all;
  for (const auto& group : groups) all.insert(all.end(), group.begin(), group.end());
  std::sort(all.begin(), all.end());
  RC_ASSERT(std::ssize(all) == world_size(mesh));
  for (std::int64_t rank = 0; rank < world_size(mesh); ++rank) {
    RC_ASSERT(all[static_cast<std::size_t>(rank)] == rank);
  }
}

RC_GTEST_PROP(DeviceMesh, GroupMembersDifferOnTheirAxisAloneInOrder, ()) {
  const DeviceMesh mesh = any_mesh();
  const Axis axis = any_axis();
  const auto rank = *rc::gen::inRange<std::int64_t>(0, world_size(mesh));
  const std::vector<std::int64_t> group = group_of(mesh, axis, rank);
  RC_ASSERT(std::ssize(group) == mesh.sizes[axis]);
  for (std::int64_t i = 0; i < std::ssize(group); ++i) {
    AxisSizes at = coordinates_of(mesh, rank);
    at[axis] = i;
    RC_ASSERT(coordinates_of(mesh, group[static_cast<std::size_t>(i)]) == at);
    RC_ASSERT(group[static_cast<std::size_t>(i)] == group[0] + i * stride_of(mesh, axis));
  }
}

RC_GTEST_PROP(DeviceMesh, TensorParallelIsInnermost, ()) {
  const DeviceMesh mesh = any_mesh();
  const auto rank = *rc::gen::inRange<std::int64_t>(0, world_size(mesh));
  RC_ASSERT(stride_of(mesh, Axis::kTp) == 1);
  RC_ASSERT(coordinates_of(mesh, rank)[Axis::kTp] == rank % mesh.sizes[Axis::kTp]);
}

RC_GTEST_PROP(DeviceMesh, EachDataParallelRankIsHeldByTheRanksOfOneModelReplica, ()) {
  const DeviceMesh mesh = any_mesh();
  std::vector<std::int64_t> holders(static_cast<std::size_t>(data_parallel_size(mesh)), 0);
  for (std::int64_t rank = 0; rank < world_size(mesh); ++rank) {
    const std::int64_t dp_rank = data_parallel_rank(mesh, rank);
    RC_ASSERT(dp_rank >= 0 && dp_rank < data_parallel_size(mesh));
    ++holders[static_cast<std::size_t>(dp_rank)];
    for (Axis axis : {Axis::kPp, Axis::kCp, Axis::kTp}) {
      for (std::int64_t peer : group_of(mesh, axis, rank)) {
        RC_ASSERT(data_parallel_rank(mesh, peer) == dp_rank);
      }
    }
  }
  for (std::int64_t count : holders) {
    RC_ASSERT(count == world_size(mesh) / data_parallel_size(mesh));
  }
}

RC_GTEST_PROP(DeviceMesh, NodesHoldConsecutiveRanks, ()) {
  const DeviceMesh mesh = any_mesh();
  for (std::int64_t rank = 0; rank + 1 < world_size(mesh); ++rank) {
    const bool last_of_node = (rank + 1) % mesh.ranks_per_node == 0;
    RC_ASSERT(node_of(mesh, rank + 1) == node_of(mesh, rank) + (last_of_node ? 1 : 0));
  }
  RC_ASSERT(node_of(mesh, 0) == 0);
}

TEST(DeviceMesh, PlacesTwoByTwoAsTheDesignDraws) {
  DeviceMesh mesh;
  mesh.sizes[Axis::kDpShard] = 2;
  mesh.sizes[Axis::kTp] = 2;
  mesh.ranks_per_node = 2;
  EXPECT_EQ(group_of(mesh, Axis::kTp, 2), (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(group_of(mesh, Axis::kDpShard, 2), (std::vector<std::int64_t>{0, 2}));
  EXPECT_EQ(data_parallel_rank(mesh, 3), 1);
  EXPECT_EQ(node_of(mesh, 1), 0);
  EXPECT_EQ(node_of(mesh, 2), 1);
}

TEST(DeviceMesh, NamesItsAxes) {
  std::vector<std::string> names;
  for (Axis axis : kAxes) names.emplace_back(to_string(axis));
  EXPECT_EQ(names, (std::vector<std::string>{"pp", "dp_replicate", "dp_shard", "cp", "tp", "ep",
                                             "expert_shard"}));
}

/// A rank holds as many experts as any other, and each slice of them is on one rank of a replica.
RC_GTEST_PROP(DeviceMesh, ExpertAxesDivideTheShards, ()) {
  DeviceMesh mesh = any_mesh();
  const std::int64_t shards = sharding_ranks(mesh);
  do {
    mesh.expert_parallel = *rc::gen::inRange<std::int64_t>(1, shards + 1);
  } while (shards % mesh.expert_parallel != 0);
  RC_ASSERT(group_size(mesh, Axis::kEp) * group_size(mesh, Axis::kExpertShard) == shards);
  // Groups of ep are neighbours, whose distance is that of ranks with other tokens.
  RC_ASSERT(stride_of(mesh, Axis::kEp) == mesh.sizes[Axis::kTp]);
  RC_ASSERT(stride_of(mesh, Axis::kExpertShard) ==
            stride_of(mesh, Axis::kEp) * group_size(mesh, Axis::kEp));
  RC_ASSERT(stride_of(mesh, Axis::kExpertShard) * group_size(mesh, Axis::kExpertShard) ==
            stride_of(mesh, Axis::kDpReplicate));
}

}  // namespace
}  // namespace meshplan::planner
