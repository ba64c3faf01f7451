#include "executor/run/placement_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

namespace meshplan::executor {
namespace {

using planner::Axis;
using planner::DeviceMesh;
using testing::AllOf;
using testing::HasSubstr;

DeviceMesh mesh_of(std::int64_t dp_shard, std::int64_t tp, std::int64_t ranks_per_node) {
  DeviceMesh mesh;
  mesh.sizes[Axis::kDpShard] = dp_shard;
  mesh.sizes[Axis::kTp] = tp;
  mesh.ranks_per_node = ranks_per_node;
  return mesh;
}

std::vector<RankPlacement> on(const std::vector<std::string>& hosts) {
  std::vector<RankPlacement> placements;
  for (const std::string& host : hosts) {
    std::int64_t local_rank = 0;
    for (const RankPlacement& earlier : placements) local_rank += earlier.host == host ? 1 : 0;
    placements.push_back({host, local_rank});
  }
  return placements;
}

TEST(Placement, KeepsGroupsOfTpOnTheNodesThatThePlanHas) {
  EXPECT_EQ(spread_group(mesh_of(2, 2, 2), on({"a", "a", "b", "b"})), "");
  // Fewer hosts than planned: two agents on one machine.
  EXPECT_EQ(spread_group(mesh_of(2, 2, 2), on({"a", "a", "a", "a"})), "");
  // A plan that has a group on two nodes.
  EXPECT_EQ(spread_group(mesh_of(1, 4, 2), on({"a", "a", "b", "b"})), "");
  EXPECT_EQ(spread_group(mesh_of(4, 1, 2), on({"a", "b", "a", "b"})), "");
}

TEST(Placement, NamesAGroupThatStraddlesHostsAgainstThePlan) {
  EXPECT_THAT(
      spread_group(mesh_of(2, 2, 2), on({"a", "b", "a", "b"})),
      AllOf(HasSubstr("ranks 0 to 1 is spread over 2 hosts"), HasSubstr("on 1 of its nodes"),
            HasSubstr("rank 0 is local rank 0 on a, rank 1 is local rank 0 on b"),
            HasSubstr("start 2 consecutive ranks on each node")));
  EXPECT_THAT(spread_group(mesh_of(2, 2, 4), on({"a", "a", "a", "b"})), HasSubstr("ranks 2 to 3"));
  EXPECT_THAT(spread_group(mesh_of(1, 4, 2), on({"a", "b", "c", "c"})), HasSubstr("3 hosts"));
}

TEST(Placement, EveryRankTellsTheOthersWhereItIs) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  const DeviceMesh mesh = mesh_of(2, 2, 2);
  std::vector<std::thread> ranks;
  for (std::int64_t rank = 0; rank < 4; ++rank) {
    ranks.emplace_back([&, rank] {
      check_placement(*store, mesh, rank, {rank < 2 ? "a \"quoted\" host" : "b", rank % 2});
    });
  }
  for (std::thread& rank : ranks) rank.join();
  EXPECT_THAT(store->get_to_str("placement/1"), HasSubstr("\"local_rank\":1"));
}

}  // namespace
}  // namespace meshplan::executor
