#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace meshplan::planner {

/// What collectives run over: the named axes of the device mesh, outermost first, and the two that
/// dp_shard x cp is divided into where experts are shared out. kEp: neighbours that hold different
/// experts. kExpertShard: those that hold the same ones, a slice each.
enum class Axis { kPp, kDpReplicate, kDpShard, kCp, kTp, kEp, kExpertShard };
inline constexpr std::array kMeshAxes = {Axis::kPp, Axis::kDpReplicate, Axis::kDpShard, Axis::kCp,
                                         Axis::kTp};
inline constexpr std::array kAxes = {Axis::kPp, Axis::kDpReplicate, Axis::kDpShard,    Axis::kCp,
                                     Axis::kTp, Axis::kEp,          Axis::kExpertShard};

/// "pp", "dp_replicate", "dp_shard", "cp", "tp", "ep" or "expert_shard".
const char* to_string(Axis axis);

/// True for the two that are no axes of the mesh.
constexpr bool is_of_experts(Axis axis) { return axis == Axis::kEp || axis == Axis::kExpertShard; }

/// The size of each axis of the mesh, indexed by Axis; and, in the same shape, the coordinates of a
/// rank. Those of the two axes that are no axes of the mesh are 1 and mean nothing.
class AxisSizes {
 public:
  std::int64_t& operator[](Axis axis) { return values_[static_cast<std::size_t>(axis)]; }
  std::int64_t operator[](Axis axis) const { return values_[static_cast<std::size_t>(axis)]; }
  bool operator==(const AxisSizes&) const = default;

 private:
  std::array<std::int64_t, kAxes.size()> values_ = {1, 1, 1, 1, 1, 1, 1};
};

/// How world_size = product of all axes ranks are arranged: rank-major with tp innermost, so
/// tp_rank = rank % tp, and ranks_per_node consecutive ranks on each node.
struct DeviceMesh {
  AxisSizes sizes;
  std::int64_t ranks_per_node = 1;
  /// Ranks that the experts of a block are shared out to; divides dp_shard x cp.
  std::int64_t expert_parallel = 1;

  bool operator==(const DeviceMesh&) const = default;
};

std::int64_t world_size(const DeviceMesh& mesh);

/// Ranks that hold different data: dp_replicate x dp_shard.
std::int64_t data_parallel_size(const DeviceMesh& mesh);

/// Ranks that share a unit's slices: dp_shard x cp. Collectives on kDpShard run over all of them.
std::int64_t sharding_ranks(const DeviceMesh& mesh);

/// Ranks of a group that a collective on this axis joins: the axis's size; of kDpShard
/// sharding_ranks, of kEp expert_parallel, of kExpertShard the one divided by the other.
std::int64_t group_size(const DeviceMesh& mesh, Axis axis);

/// The rank's place on every axis, each in [0, size of the axis). Requires 0 <= rank < world_size.
AxisSizes coordinates_of(const DeviceMesh& mesh, std::int64_t rank);

/// The inverse of coordinates_of.
std::int64_t rank_at(const DeviceMesh& mesh, const AxisSizes& coordinates);

/// Index among data-parallel ranks: dp_replicate x dp_shard, dp_shard innermost. Selects the rank's
/// samples.
std::int64_t data_parallel_rank(const DeviceMesh& mesh, std::int64_t rank);

/// The ranks, ascending, that differ from `rank` on this axis of the mesh alone, itself included.
std::vector<std::int64_t> group_of(const DeviceMesh& mesh, Axis axis, std::int64_t rank);

/// Distance in ranks between neighbours of a group of this axis.
std::int64_t stride_of(const DeviceMesh& mesh, Axis axis);

/// The node that holds the rank.
std::int64_t node_of(const DeviceMesh& mesh, std::int64_t rank);

}  // namespace meshplan::planner
