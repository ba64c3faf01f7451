// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/models/mesh_cells.h"

#include <QObject>
#include <QStringList>
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "gui/models/quantities.h"

namespace meshplan::gui {
namespace {

using planner::Axis;

/// Around the cells of a node, and between nodes.
constexpr double kFrame = 0.25;
constexpr double kGap = 0.35;
/// Width over height that all nodes together come near to.
constexpr double kShape = 1.6;

/// The divisor of `count` that is nearest to `wanted`, or `wanted` where none is near.
std::int64_t evenNear(std::int64_t count, double wanted) {
  constexpr double kNear = 1.7;
  std::int64_t best = std::clamp<std::int64_t>(std::llround(wanted), 1, count);
  double least = std::log(kNear);
  for (std::int64_t divisor = 1; divisor <= count; ++divisor) {
    const double distance = std::abs(std::log(static_cast<double>(divisor) / wanted));
    if (count % divisor != 0 || distance >= least) continue;
    least = distance;
    best = divisor;
  }
  return best;
}

std::size_t stageOf(const LayoutDetail& detail, std::int64_t rank) {
  return static_cast<std::size_t>(
      planner::coordinates_of(detail.candidate.layout.mesh, rank)[Axis::kPp]);
}

/// Kernels of the stage's ranks, which are alike: what compute did and was not exposed.
simulator::Picoseconds computingTime(const simulator::SimulatedStep& step, std::size_t stage) {
  const simulator::StageTimes& times = step.times[stage];
  simulator::Picoseconds time = times.compute.front();
  for (const auto& exposed : times.exposed) time -= exposed.front();
  return time;
}

common::Bytes deviceMemory(const LayoutDetail& detail, std::size_t stage) {
  return planner::device_memory(detail.problem->cluster, detail.step->peaks[stage].total);
}

}  // namespace

MeshCells::MeshCells(const planner::DeviceMesh& mesh) : m_mesh(mesh) {
  m_ranks = planner::world_size(mesh);
  m_perNode = std::min(std::max<std::int64_t>(1, mesh.ranks_per_node), m_ranks);
  const std::int64_t tp = mesh.sizes[Axis::kTp];
  m_nodes = (m_ranks + m_perNode - 1) / m_perNode;
  m_columns = tp > 1 ? std::min(tp, m_perNode) : std::min<std::int64_t>(m_perNode, 4);
  m_rows = (m_perNode + m_columns - 1) / m_columns;
  const double wanted =
      std::sqrt(static_cast<double>(m_nodes) * kShape * nodeHeight() / nodeWidth());
  m_across = evenNear(m_nodes, wanted);
  const std::int64_t nodesOfGroup = std::max<std::int64_t>(1, tp / m_perNode);
  if (nodesOfGroup > 1) {
    const std::int64_t groups = std::max<std::int64_t>(1, m_across / nodesOfGroup);
    m_across = std::min(m_nodes, groups * nodesOfGroup);
  }
}

double MeshCells::nodeWidth() const { return static_cast<double>(m_columns) + 2 * kFrame + kGap; }
double MeshCells::nodeHeight() const { return static_cast<double>(m_rows) + 2 * kFrame + kGap; }

QRectF MeshCells::bounds() const {
  const auto down = static_cast<double>((m_nodes + m_across - 1) / m_across);
  return {0, 0, nodeWidth() * static_cast<double>(m_across) - kGap, nodeHeight() * down - kGap};
}

QRectF MeshCells::nodeFrame(std::int64_t node) const {
  return {nodeWidth() * static_cast<double>(node % m_across),
          nodeHeight() * static_cast<double>(node / m_across), nodeWidth() - kGap,
          nodeHeight() - kGap};
}

QRectF MeshCells::cellOf(std::int64_t rank) const {
  const std::int64_t node = rank / m_perNode;
  const std::int64_t place = rank % m_perNode;
  return {nodeFrame(node).topLeft() + QPointF(kFrame + static_cast<double>(place % m_columns),
                                              kFrame + static_cast<double>(place / m_columns)),
          QSizeF(1, 1)};
}

std::int64_t MeshCells::rankAt(const QPointF& point) const {
  if (m_ranks == 0 || !bounds().contains(point)) return kNoRank;
  const auto across = static_cast<std::int64_t>(point.x() / nodeWidth());
  const auto down = static_cast<std::int64_t>(point.y() / nodeHeight());
  const std::int64_t node = down * m_across + across;
  if (across >= m_across || node >= m_nodes) return kNoRank;
  const QPointF inside = point - nodeFrame(node).topLeft() - QPointF(kFrame, kFrame);
  const auto column = static_cast<std::int64_t>(std::floor(inside.x()));
  const auto row = static_cast<std::int64_t>(std::floor(inside.y()));
  if (column < 0 || row < 0 || column >= m_columns || row >= m_rows) return kNoRank;
  const std::int64_t place = row * m_columns + column;
  const std::int64_t rank = node * m_perNode + place;
  return place < m_perNode && rank < m_ranks ? rank : kNoRank;
}

std::pair<std::int64_t, std::int64_t> MeshCells::nodesIn(const QRectF& area) const {
  const auto rowOf = [&](double y) {
    return std::max<std::int64_t>(0, static_cast<std::int64_t>(std::floor(y / nodeHeight())));
  };
  return {std::min(m_nodes, rowOf(area.top()) * m_across),
          std::min(m_nodes, (rowOf(area.bottom()) + 1) * m_across)};
}

QString nameOf(MeshColor color) {
  switch (color) {
    case MeshColor::kNode:
      return QObject::tr("node");
    case MeshColor::kTpGroup:
      return QObject::tr("tp group");
    case MeshColor::kShardGroup:
      return QObject::tr("dp_shard group");
    case MeshColor::kReplica:
      return QObject::tr("replica");
    case MeshColor::kStage:
      return QObject::tr("pipeline stage");
    case MeshColor::kMemory:
      return QObject::tr("memory at its peak");
    case MeshColor::kTime:
      return QObject::tr("time spent computing");
  }
  return {};
}

std::int64_t categoryOf(const planner::DeviceMesh& mesh, MeshColor color, std::int64_t rank) {
  const planner::AxisSizes at = planner::coordinates_of(mesh, rank);
  switch (color) {
    case MeshColor::kNode:
      return planner::node_of(mesh, rank);
    case MeshColor::kTpGroup:
      return rank / mesh.sizes[Axis::kTp];
    case MeshColor::kShardGroup:
      return ((at[Axis::kPp] * mesh.sizes[Axis::kDpReplicate] + at[Axis::kDpReplicate]) *
                  mesh.sizes[Axis::kCp] +
              at[Axis::kCp]) *
                 mesh.sizes[Axis::kTp] +
             at[Axis::kTp];
    case MeshColor::kReplica:
      return at[Axis::kDpReplicate];
    case MeshColor::kStage:
    case MeshColor::kMemory:
    case MeshColor::kTime:
      return at[Axis::kPp];
  }
  return 0;
}

bool isScale(MeshColor color) { return color == MeshColor::kMemory || color == MeshColor::kTime; }

double partOf(const LayoutDetail& detail, MeshColor color, std::int64_t rank) {
  const std::size_t stage = stageOf(detail, rank);
  if (color == MeshColor::kTime) {
    if (!detail.step) return std::numeric_limits<double>::quiet_NaN();
    return static_cast<double>(computingTime(*detail.step, stage)) /
           static_cast<double>(detail.step->step_time);
  }
  const planner::MemoryEstimate& memory = detail.candidate.estimate.memory;
  const common::Bytes device = detail.step ? deviceMemory(detail, stage) : memory.peak_device;
  return static_cast<double>(device.value) / static_cast<double>(memory.capacity.value);
}

QString stageText(const LayoutDetail& detail, std::int64_t rank) {
  if (!detail.step) return {};
  const std::size_t stage = stageOf(detail, rank);
  const auto seconds = [](simulator::Picoseconds time) {
    return textOf(common::Seconds(static_cast<double>(time) * 1e-12));
  };
  return QObject::tr("computes %1 of the step's %2 (%3), holds %4 at its peak")
      .arg(seconds(computingTime(*detail.step, stage)), seconds(detail.step->step_time),
           percentText(partOf(detail, MeshColor::kTime, rank)),
           textOf(deviceMemory(detail, stage)));
}

std::vector<RankGroup> groupsOf(const LayoutDetail& detail, std::int64_t rank) {
  const planner::DeviceMesh& mesh = detail.candidate.layout.mesh;
  std::vector<RankGroup> groups;
  for (const Axis axis : planner::kMeshAxes) {
    if (mesh.sizes[axis] == 1) continue;
    RankGroup group;
    group.axis = axis;
    group.members = planner::group_of(mesh, axis, rank);
    std::set<std::int64_t> nodes;
    for (const std::int64_t member : group.members) nodes.insert(planner::node_of(mesh, member));
    group.link = nodes.size() == 1 ? QObject::tr("links within a node")
                                   : QObject::tr("network between %1 nodes").arg(nodes.size());
    const planner::AxisTraffic& traffic =
        detail.candidate.estimate.traffic[static_cast<std::size_t>(axis)];
    group.wireBytes = traffic.wire_bytes;
    group.exposed = traffic.exposed;
    groups.push_back(std::move(group));
  }
  return groups;
}

QString placeText(const planner::DeviceMesh& mesh, std::int64_t rank) {
  const planner::AxisSizes at = planner::coordinates_of(mesh, rank);
  QStringList parts = {QObject::tr("node %1").arg(planner::node_of(mesh, rank))};
  for (const Axis axis : planner::kMeshAxes) {
    if (mesh.sizes[axis] > 1) parts.append(QString("%1 %2").arg(to_string(axis)).arg(at[axis]));
  }
  return QObject::tr("Rank %1: %2").arg(rank).arg(parts.join(", "));
}

}  // namespace meshplan::gui
