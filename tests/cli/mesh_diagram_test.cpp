#include "cli/mesh_diagram.h"

#include <gtest/gtest.h>

namespace meshplan::cli {
namespace {

using planner::Axis;

planner::DeviceMesh mesh(std::int64_t dp_replicate, std::int64_t dp_shard, std::int64_t tp,
                         std::int64_t ranks_per_node) {
  planner::DeviceMesh mesh;
  mesh.sizes[Axis::kDpReplicate] = dp_replicate;
  mesh.sizes[Axis::kDpShard] = dp_shard;
  mesh.sizes[Axis::kTp] = tp;
  mesh.ranks_per_node = ranks_per_node;
  return mesh;
}

TEST(MeshDiagram, FramesOneNode) {
  EXPECT_EQ(mesh_diagram(mesh(1, 2, 2, 4)), R"(
  tp     0     1
     +-----------+
dp 0 |   0     1 |  node 0
dp 1 |   2     3 |
     +-----------+
)" + 1);
}

TEST(MeshDiagram, FramesEachNodeThatHoldsSeveralRows) {
  EXPECT_EQ(mesh_diagram(mesh(1, 4, 2, 4)), R"(
  tp     0     1
     +-----------+
dp 0 |   0     1 |  node 0
dp 1 |   2     3 |
     +-----------+
dp 2 |   4     5 |  node 1
dp 3 |   6     7 |
     +-----------+
)" + 1);
}

TEST(MeshDiagram, ShowsThatATpGroupSpansNodes) {
  EXPECT_EQ(mesh_diagram(mesh(1, 2, 16, 8)), R"(
  tp     0     1     2     3     4     5     6     7     8     9    10    11    12    13    14    15
     +-----------------------------------------------+-----------------------------------------------+
dp 0 |   0     1     2     3     4     5     6     7 |   8     9    10    11    12    13    14    15 |  nodes 0 to 1
     +-----------------------------------------------+-----------------------------------------------+
dp 1 |  16    17    18    19    20    21    22    23 |  24    25    26    27    28    29    30    31 |  nodes 2 to 3
     +-----------------------------------------------+-----------------------------------------------+
)" + 1);
}

TEST(MeshDiagram, FollowsNodesThatEndInsideARow) {
  EXPECT_EQ(mesh_diagram(mesh(1, 4, 3, 4)), R"(
  tp     0     1     2
     +-----------------+
dp 0 |   0     1     2 |  node 0
     |     +-----------+
dp 1 |   3 |   4     5 |  nodes 0 to 1
     +-----+     +-----+
dp 2 |   6     7 |   8 |  nodes 1 to 2
     +-----------+     |
dp 3 |   9    10    11 |  node 2
     +-----------------+
)" + 1);
}

TEST(MeshDiagram, NamesBothDataParallelAxes) {
  EXPECT_EQ(mesh_diagram(mesh(2, 2, 1, 2)), R"(
                        tp     0
                           +-----+
dp_replicate 0, dp_shard 0 |   0 |  node 0
dp_replicate 0, dp_shard 1 |   1 |
                           +-----+
dp_replicate 1, dp_shard 0 |   2 |  node 1
dp_replicate 1, dp_shard 1 |   3 |
                           +-----+
)" + 1);
}

TEST(MeshDiagram, AbbreviatesLargeMeshes) {
  EXPECT_EQ(mesh_diagram(mesh(1, 512, 2, 8)), R"(
    tp      0      1
       +-------------+
dp 0   |    0      1 |  node 0
dp 1   |    2      3 |
dp 2   |    4      5 |
dp 3   |    6      7 |
       +-------------+
dp 4   |    8      9 |  node 1
...    |  ...    ... |
dp 510 | 1020   1021 |  node 127
dp 511 | 1022   1023 |
       +-------------+
)" + 1);
  EXPECT_EQ(mesh_diagram(mesh(1, 1, 40, 8)), R"(
  tp     0     1     2     3     4     5     6     7     8     9    10    11   ...    37    38    39
     +-----------------------------------------------+-----------------------------------------------+
dp 0 |   0     1     2     3     4     5     6     7 |   8     9    10    11   ...    37    38    39 |  nodes 0 to 4
     +-----------------------------------------------+-----------------------------------------------+
)" + 1);
}

}  // namespace
}  // namespace meshplan::cli
