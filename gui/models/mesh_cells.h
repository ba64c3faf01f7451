// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <QPointF>
#include <QRectF>
#include <QString>
#include <utility>
#include <vector>

#include "gui/models/layout_detail.h"
#include "planner/layout/device_mesh.h"

namespace meshplan::gui {

/// No rank.
inline constexpr std::int64_t kNoRank = -1;

/// Where the ranks of a mesh are drawn, one unit to a cell: nodes as boxes in rows, in each its
/// ranks in rows of tp. Groups of tp that span nodes lie in one row of them.
class MeshCells {
 public:
  MeshCells() = default;
  explicit MeshCells(const planner::DeviceMesh& mesh);

  const planner::DeviceMesh& mesh() const { return m_mesh; }
  std::int64_t ranks() const { return m_ranks; }
  std::int64_t nodes() const { return m_nodes; }
  QRectF bounds() const;
  QRectF cellOf(std::int64_t rank) const;
  QRectF nodeFrame(std::int64_t node) const;
  /// kNoRank between the cells.
  std::int64_t rankAt(const QPointF& point) const;
  /// Nodes whose frames may meet the area: [first, last) of their rows.
  std::pair<std::int64_t, std::int64_t> nodesIn(const QRectF& area) const;

 private:
  double nodeWidth() const;
  double nodeHeight() const;

  planner::DeviceMesh m_mesh;
  std::int64_t m_ranks = 0;
  std::int64_t m_nodes = 0;
  std::int64_t m_perNode = 1;
  /// Of cells in a node, and of nodes.
  std::int64_t m_columns = 1;
  std::int64_t m_rows = 1;
  std::int64_t m_across = 1;
};

/// What a cell's colour tells.
enum class MeshColor { kNode, kTpGroup, kShardGroup, kReplica, kStage, kMemory, kTime };
inline constexpr int kMeshColors = 7;
QString nameOf(MeshColor color);

/// The number of the rank's node, group or stage; requires one that is not a scale.
std::int64_t categoryOf(const planner::DeviceMesh& mesh, MeshColor color, std::int64_t rank);

/// Whether colours tell a part of a whole, and not one of many.
bool isScale(MeshColor color);
/// kMemory: what the rank's device holds at its peak, as a part of the capacity; of its pipeline
/// stage as it was played. kTime: the part of the simulated step that the rank computes and does
/// not wait. NaN for the time of a step that could not be played.
double partOf(const LayoutDetail& detail, MeshColor color, std::int64_t rank);
/// "computes 0.83 s of the step's 1.02 s (81 %), holds 61.2 GiB at its peak": of the rank's stage;
/// "" where the step could not be played.
QString stageText(const LayoutDetail& detail, std::int64_t rank);

/// A rank's groups: who is in them, the links between them, and what is sent over those in a step.
struct RankGroup {
  planner::Axis axis = planner::Axis::kTp;
  std::vector<std::int64_t> members;
  /// "NVLink within a node" or "network, 4 nodes".
  QString link;
  common::Bytes wireBytes;
  common::Seconds exposed;
};
std::vector<RankGroup> groupsOf(const LayoutDetail& detail, std::int64_t rank);

/// "rank 13: node 1, tp 5, dp_shard 1", in the order of the mesh's axes.
QString placeText(const planner::DeviceMesh& mesh, std::int64_t rank);

}  // namespace meshplan::gui
