#pragma once

#include <cstdint>

#include "planner/layout/device_mesh.h"

namespace meshplan::simulator {

/// How the ranks of a pipeline stage are divided into the groups of an axis: rank x of the stage is
/// number x / stride % size of its group, and has rank x - x / stride % size * stride for its
/// first.
struct RankGroups {
  std::int64_t stride = 1;
  std::int64_t size = 1;

  /// How far apart the first ranks of two rows of groups are.
  std::int64_t span() const { return stride * size; }
};

/// Groups of an axis other than pp over so many ranks of a stage; each is its own where they are
/// folded into one.
inline RankGroups rank_groups(const planner::DeviceMesh& mesh, planner::Axis axis,
                              std::int64_t ranks) {
  if (ranks == 1) return {};
  // cp lies within the groups of dp_shard.
  const bool shards = axis == planner::Axis::kDpShard;
  return {.stride = shards ? mesh.sizes[planner::Axis::kTp] : planner::stride_of(mesh, axis),
          .size = planner::group_size(mesh, axis)};
}

}  // namespace meshplan::simulator
