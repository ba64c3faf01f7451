#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace meshplan::planner {

/// The named axes of the device mesh, outermost first.
enum class Axis { kPp, kDpReplicate, kDpShard, kCp, kTp };
inline constexpr std::array kAxes = {Axis::kPp, Axis::kDpReplicate, Axis::kDpShard, Axis::kCp,
                                     Axis::kTp};

/// "pp", "dp_replicate", "dp_shard", "cp" or "tp".
const char* to_string(Axis axis);

/// The size of each axis, indexed by Axis; and, in the same shape, the coordinates of a rank.
class AxisSizes {
 public:
  std::int64_t& operator[](Axis axis) { return values_[static_cast<std::size_t>(axis)]; }
  std::int64_t operator[](Axis axis) const { return values_[static_cast<std::size_t>(axis)]; }
  bool operator==(const AxisSizes&) const = default;

 private:
  std::array<std::int64_t, kAxes.size()> values_ = {1, 1, 1, 1, 1};
};

/// How world_size = product of all axes ranks are arranged: rank-major with tp innermost, so
/// tp_rank = rank % tp, and ranks_per_node consecutive ranks on each node.
struct DeviceMesh {
  AxisSizes sizes;
  std::int64_t ranks_per_node = 1;

  bool operator==(const DeviceMesh&) const = default;
};

std::int64_t world_size(const DeviceMesh& mesh);

/// Ranks that hold different data: dp_replicate x dp_shard.
std::int64_t data_parallel_size(const DeviceMesh& mesh);

/// Ranks that share a unit's slices: dp_shard x cp. Collectives on kDpShard run over all of them.
std::int64_t sharding_ranks(const DeviceMesh& mesh);

/// Ranks of a group that a collective on this axis joins: the axis's size, but for kDpShard.
std::int64_t group_size(const DeviceMesh& mesh, Axis axis);

/// The rank's place on every axis, each in [0, size of the axis). Requires 0 <= rank < world_size.
AxisSizes coordinates_of(const DeviceMesh& mesh, std::int64_t rank);

/// The inverse of coordinates_of.
std::int64_t rank_at(const DeviceMesh& mesh, const AxisSizes& coordinates);

/// Index among data-parallel ranks: dp_replicate x dp_shard, dp_shard innermost. Selects the rank's
/// samples.
std::int64_t data_parallel_rank(const DeviceMesh& mesh, std::int64_t rank);

/// The ranks, ascending, that differ from `rank` on this axis alone, itself included.
std::vector<std::int64_t> group_of(const DeviceMesh& mesh, Axis axis, std::int64_t rank);

/// Distance in ranks between neighbours of a group of this axis.
std::int64_t stride_of(const DeviceMesh& mesh, Axis axis);

/// The node that holds the rank.
std::int64_t node_of(const DeviceMesh& mesh, std::int64_t rank);

}  // namespace meshplan::planner
