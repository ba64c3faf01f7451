#include "planner/layout/device_mesh.h"

namespace meshplan::planner {

const char* to_string(Axis axis) {
  switch (axis) {
    case Axis::kPp:
      return "pp";
    case Axis::kDpReplicate:
      return "dp_replicate";
    case Axis::kDpShard:
      return "dp_shard";
    case Axis::kCp:
      return "cp";
    case Axis::kTp:
      return "tp";
    case Axis::kEp:
      return "ep";
    case Axis::kExpertShard:
      return "expert_shard";
  }
  return "tp";
}

std::int64_t world_size(const DeviceMesh& mesh) {
  std::int64_t ranks = 1;
  for (Axis axis : kMeshAxes) ranks *= mesh.sizes[axis];
  return ranks;
}

std::int64_t data_parallel_size(const DeviceMesh& mesh) {
  return mesh.sizes[Axis::kDpReplicate] * mesh.sizes[Axis::kDpShard];
}

std::int64_t sharding_ranks(const DeviceMesh& mesh) {
  return mesh.sizes[Axis::kDpShard] * mesh.sizes[Axis::kCp];
}

std::int64_t group_size(const DeviceMesh& mesh, Axis axis) {
  switch (axis) {
    case Axis::kDpShard:
      return sharding_ranks(mesh);
    case Axis::kEp:
      return mesh.expert_parallel;
    case Axis::kExpertShard:
      return sharding_ranks(mesh) / mesh.expert_parallel;
    case Axis::kPp:
    case Axis::kDpReplicate:
    case Axis::kCp:
    case Axis::kTp:
      break;
  }
  return mesh.sizes[axis];
}

std::int64_t stride_of(const DeviceMesh& mesh, Axis axis) {
  if (axis == Axis::kEp) return mesh.sizes[Axis::kTp];
  if (axis == Axis::kExpertShard) return mesh.sizes[Axis::kTp] * mesh.expert_parallel;
  std::int64_t stride = 1;
  for (auto inner = kMeshAxes.rbegin(); *inner != axis; ++inner) stride *= mesh.sizes[*inner];
  return stride;
}

AxisSizes coordinates_of(const DeviceMesh& mesh, std::int64_t rank) {
  AxisSizes coordinates;
  for (Axis axis : kMeshAxes) coordinates[axis] = rank / stride_of(mesh, axis) % mesh.sizes[axis];
  return coordinates;
}

std::int64_t rank_at(const DeviceMesh& mesh, const AxisSizes& coordinates) {
  std::int64_t rank = 0;
  for (Axis axis : kMeshAxes) rank += coordinates[axis] * stride_of(mesh, axis);
  return rank;
}

std::int64_t data_parallel_rank(const DeviceMesh& mesh, std::int64_t rank) {
  const AxisSizes at = coordinates_of(mesh, rank);
  return at[Axis::kDpReplicate] * mesh.sizes[Axis::kDpShard] + at[Axis::kDpShard];
}

std::vector<std::int64_t> group_of(const DeviceMesh& mesh, Axis axis, std::int64_t rank) {
  AxisSizes at = coordinates_of(mesh, rank);
  std::vector<std::int64_t> group;
  for (at[axis] = 0; at[axis] < mesh.sizes[axis]; ++at[axis]) group.push_back(rank_at(mesh, at));
  return group;
}

std::int64_t node_of(const DeviceMesh& mesh, std::int64_t rank) {
  return rank / mesh.ranks_per_node;
}

}  // namespace meshplan::planner
