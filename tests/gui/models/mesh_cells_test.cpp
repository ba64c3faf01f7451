#include "gui/models/mesh_cells.h"

#include <gtest/gtest.h>

#include "tests/gui/support.h"

namespace meshplan::gui {
namespace {

planner::DeviceMesh meshOf(std::int64_t tp, std::int64_t shard, std::int64_t perNode) {
  planner::DeviceMesh mesh;
  mesh.sizes[planner::Axis::kTp] = tp;
  mesh.sizes[planner::Axis::kDpShard] = shard;
  mesh.ranks_per_node = perNode;
  return mesh;
}

TEST(MeshCells, ARankIsFoundWhereItIsDrawn) {
  for (const auto& [tp, shard, perNode] : {std::tuple{1, 1, 1},
                                           {8, 8, 8},
                                           {2, 32, 8},
                                           {16, 4, 8},
                                           {1, 64, 8},
                                           {8, 2048, 8},
                                           {1, 72, 72},
                                           {4, 3, 6}}) {
    const MeshCells cells(meshOf(tp, shard, perNode));
    for (std::int64_t rank = 0; rank < cells.ranks(); ++rank) {
      const QRectF cell = cells.cellOf(rank);
      ASSERT_EQ(cells.rankAt(cell.center()), rank) << tp << " x " << shard;
      ASSERT_TRUE(cells.bounds().contains(cell)) << rank;
      ASSERT_TRUE(cells.nodeFrame(planner::node_of(cells.mesh(), rank)).contains(cell)) << rank;
    }
  }
}

TEST(MeshCells, NothingIsFoundBetweenAndAroundThem) {
  const MeshCells cells(meshOf(8, 8, 8));
  EXPECT_EQ(cells.rankAt({-1, -1}), kNoRank);
  EXPECT_EQ(cells.rankAt({1e9, 1e9}), kNoRank);
  EXPECT_EQ(cells.rankAt(cells.nodeFrame(0).topLeft() + QPointF(0.05, 0.05)), kNoRank);
  EXPECT_EQ(MeshCells().rankAt({0, 0}), kNoRank);
}

TEST(MeshCells, CategoriesFollowTheMesh) {
  const planner::DeviceMesh mesh = meshOf(4, 4, 8);
  for (std::int64_t rank = 0; rank < 16; ++rank) {
    EXPECT_EQ(categoryOf(mesh, MeshColor::kNode, rank), rank / 8);
    EXPECT_EQ(categoryOf(mesh, MeshColor::kTpGroup, rank), rank / 4);
    EXPECT_EQ(categoryOf(mesh, MeshColor::kShardGroup, rank), rank % 4);
  }
}

TEST(PartOf, IsKnownOfEveryStageOfALongPipeline) {
  Workspace workspace;
  Inputs inputs = exampleInputs();
  inputs[Field::kPp] = "16";
  inputs[Field::kGlobalBatch] = "128";
  settle(workspace, inputs);
  const auto& detail = workspace.detailing.detail();
  ASSERT_TRUE(detail && detail->step);
  const std::int64_t ranks = planner::world_size(detail->candidate.layout.mesh);
  double most = 0;
  for (std::int64_t stage = 0; stage < 16; ++stage) {
    const std::int64_t rank = stage * (ranks / 16);
    const double time = partOf(*detail, MeshColor::kTime, rank);
    EXPECT_GT(time, 0);
    EXPECT_LE(time, 1);
    EXPECT_TRUE(stageText(*detail, rank).contains("computes"));
    most = std::max(most, partOf(*detail, MeshColor::kMemory, rank));
  }
  const planner::MemoryEstimate& memory = detail->candidate.estimate.memory;
  EXPECT_NEAR(most * static_cast<double>(memory.capacity.value) /
                  static_cast<double>(memory.peak_device.value),
              1, 0.02);
  EXPECT_NE(partOf(*detail, MeshColor::kMemory, 0), partOf(*detail, MeshColor::kMemory, ranks - 1));
}

TEST(RankGroups, AddUpToTheEstimatesTraffic) {
  Workspace workspace;
  Inputs inputs = smallInputs();
  inputs[Field::kTp] = "8";
  settle(workspace, inputs);
  const auto& detail = workspace.detailing.detail();
  ASSERT_TRUE(detail);
  const std::vector<RankGroup> groups = groupsOf(*detail, 3);
  ASSERT_FALSE(groups.empty());
  for (const RankGroup& group : groups) {
    EXPECT_EQ(static_cast<std::int64_t>(group.members.size()),
              detail->candidate.layout.mesh.sizes[group.axis]);
    EXPECT_EQ(group.wireBytes,
              detail->candidate.estimate.traffic[static_cast<std::size_t>(group.axis)].wire_bytes);
  }
}

}  // namespace
}  // namespace meshplan::gui
