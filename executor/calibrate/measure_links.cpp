#include "executor/calibrate/measure_links.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <vector>

#include "planner/cost/price.h"

namespace meshplan::executor {
namespace {

using planner::Axis;
using planner::CollectiveKind;

/// From a norm's gradient to a block's parameters.
constexpr std::array<std::int64_t, 6> kElements = {1 << 9,  1 << 14, 1 << 16,
                                                   1 << 18, 1 << 20, 1 << 22};

/// Measurements of one kind of link, by collective.
using LinkPoints = std::map<CollectiveKind, std::vector<Measurement>>;

planner::CollectiveCost cost_of(const std::vector<Measurement>& points) {
  const LineFit line = fit_line(points);
  return {.latency = common::Seconds(line.fixed), .bandwidth = common::BytesPerSecond(line.rate)};
}

planner::LinkSpec link_of(const LinkPoints& points) {
  return {.all_reduce = cost_of(points.at(CollectiveKind::kAllReduce)),
          .all_gather = cost_of(points.at(CollectiveKind::kAllGather)),
          .reduce_scatter = cost_of(points.at(CollectiveKind::kReduceScatter))};
}

/// A group of ranks to measure.
struct MeasuredGroup {
  const char* name;
  Communicator* group;
  bool spans_nodes;
};

/// Groups of different sizes, or on different links.
std::vector<MeasuredGroup> measured_groups(const planner::DeviceMesh& mesh,
                                           MeshCommunicators& groups, MeshCommunicators& all) {
  std::vector<MeasuredGroup> measured;
  const auto add = [&](const char* name, Communicator& group, bool spans) {
    if (group.size() == 1) return;
    for (const MeasuredGroup& other : measured) {
      if (other.group->size() == group.size() && other.spans_nodes == spans) return;
    }
    measured.push_back({name, &group, spans});
  };
  add("tp", groups[Axis::kTp], spans_nodes(mesh, Axis::kTp));
  add("dp_shard", groups[Axis::kDpShard], spans_nodes(mesh, Axis::kDpShard));
  // A group of all ranks leaves each node by one of them, the groups of an axis by all: they show
  // what a rank gets of a node's network while all ranks use it.
  const bool all_span_nodes = mesh.ranks_per_node != planner::world_size(mesh);
  const bool known = std::any_of(measured.begin(), measured.end(),
                                 [](const MeasuredGroup& group) { return group.spans_nodes; });
  if (!all_span_nodes || !known) add("all", all[Axis::kDpShard], all_span_nodes);
  return measured;
}

LinkPoints measure_group(const RankTimer& timer, const ComputeWork& compute, Communicator& group,
                         at::Device device) {
  LinkPoints points;
  for (CollectiveKind kind :
       {CollectiveKind::kAllReduce, CollectiveKind::kAllGather, CollectiveKind::kReduceScatter}) {
    for (std::int64_t elements : kElements) {
      points[kind].push_back(measure_collective(timer, compute, group, kind, elements, device));
      spdlog::debug("{:<16} over {} ranks, {:>9.0f} bytes on the wire: {:9.1f} us",
                    planner::to_string(kind), group.size(), points[kind].back().size,
                    points[kind].back().seconds * 1e6);
    }
  }
  return points;
}

void add(LinkPoints& points, const LinkPoints& more) {
  for (const auto& [kind, measured] : more)
    points[kind].insert(points[kind].end(), measured.begin(), measured.end());
}

planner::LinkSpec own_memory(const planner::DeviceSpec& device) {
  const planner::CollectiveCost copy{device.launch_overhead, device.memory_bandwidth};
  return {copy, copy, copy};
}

}  // namespace

void measure_links(const RankTimer& timer, const ComputeWork& compute,
                   const planner::DeviceMesh& mesh, MeshCommunicators& groups,
                   MeshCommunicators& all, at::Device device, planner::ClusterSpec& cluster) {
  LinkPoints within;
  LinkPoints between;
  std::optional<LinkPoints> whole;
  double overlap = 0;
  const std::vector<MeasuredGroup> measured = measured_groups(mesh, groups, all);
  for (const MeasuredGroup& each : measured) {
    spdlog::info("collectives of {} ranks ({}){}", each.group->size(), each.name,
                 each.spans_nodes ? ", between nodes" : "");
    const LinkPoints points = measure_group(timer, compute, *each.group, device);
    if (each.spans_nodes) {
      add(between, points);
    } else if (each.group->size() == cluster.devices_per_node && !within.empty()) {
      whole = points;
    } else {
      add(within, points);
    }
    overlap += measure_overlap(timer, compute, *each.group, device);
  }
  if (measured.empty()) {
    cluster.intra_node = cluster.inter_node = own_memory(cluster.device);
    return;
  }
  cluster.intra_node = link_of(within.empty() ? between : within);
  cluster.inter_node = link_of(between.empty() ? within : between);
  if (whole) cluster.whole_node = link_of(*whole);
  cluster.overlap = overlap / static_cast<double>(measured.size());
}

}  // namespace meshplan::executor
