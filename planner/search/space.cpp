#include "planner/search/space.h"

#include "common/checked.h"
#include "planner/search/sizes.h"

namespace meshplan::planner {
namespace {

/// Microbatches of the step; nothing where they do not make up the global batch.
std::optional<std::int64_t> accumulation_of(const SearchSpace& space, const Branch& branch) {
  if (!space.global_batch_size) return space.base.accumulation;
  const std::int64_t once =
      common::checked_multiply(branch.layout.microbatch_size, branch.dp, "microbatch_size");
  if (*space.global_batch_size % once != 0) return std::nullopt;
  return *space.global_batch_size / once;
}

void add_branches(const SearchSpace& space, Branch branch, std::vector<Branch>& branches) {
  Layout& layout = branch.layout;
  for (const std::int64_t microbatch : space.microbatch_size) {
    layout.microbatch_size = microbatch;
    const std::optional<std::int64_t> accumulation = accumulation_of(space, branch);
    if (!accumulation) continue;
    layout.accumulation = *accumulation;
    for (const bool sequence_parallel : space.sequence_parallel) {
      const bool tp = layout.mesh.sizes[Axis::kTp] > 1;
      // Without tp there is one way.
      if (!tp && sequence_parallel != space.sequence_parallel.front()) continue;
      layout.sequence_parallel = tp && sequence_parallel;
      branches.push_back(branch);
    }
  }
}

/// Whether the strategy is told from another one by this mesh.
bool has_meaning(const Layout& layout, Sharding sharding) {
  const bool replicas = layout.mesh.sizes[Axis::kDpReplicate] > 1;
  const bool shards = sharding_ranks(layout.mesh) > 1;
  switch (sharding) {
    case Sharding::kNoShard:
      return !shards;
    case Sharding::kShardOptimizer:
      return shards;
    case Sharding::kFullShard:
    case Sharding::kShardGradOp:
      return shards && !replicas;
    case Sharding::kHybridShard:
    case Sharding::kHybridShardZero2:
      return shards && replicas;
  }
  return false;
}

}  // namespace

std::vector<Branch> branches_of(const ClusterSpec& cluster, const SearchSpace& space) {
  std::vector<Branch> branches;
  const std::int64_t world = world_size(cluster);
  for (const std::int64_t pp : allowed_divisors(world, space.pp)) {
    for (const std::int64_t cp : allowed_divisors(world / pp, space.cp)) {
      for (const std::int64_t tp : allowed_divisors(world / pp / cp, space.tp)) {
        Branch branch{.layout = space.base, .dp = world / pp / cp / tp};
        DeviceMesh& mesh = branch.layout.mesh;
        mesh.ranks_per_node = cluster.devices_per_node;
        mesh.sizes[Axis::kPp] = pp;
        mesh.sizes[Axis::kCp] = cp;
        mesh.sizes[Axis::kTp] = tp;
        mesh.sizes[Axis::kDpReplicate] = 1;
        mesh.sizes[Axis::kDpShard] = branch.dp;
        add_branches(space, branch, branches);
      }
    }
  }
  return branches;
}

std::vector<Layout> layouts_of(const SearchSpace& space, const Branch& branch) {
  std::vector<Layout> layouts;
  Layout layout = branch.layout;
  for (const std::int64_t replicas : allowed_divisors(branch.dp, space.dp_replicate)) {
    layout.mesh.sizes[Axis::kDpReplicate] = replicas;
    layout.mesh.sizes[Axis::kDpShard] = branch.dp / replicas;
    if (!allowed(space.dp_shard, branch.dp / replicas)) continue;
    for (const Sharding sharding : space.sharding) {
      if (!has_meaning(layout, sharding)) continue;
      layout.sharding = sharding;
      const bool one_way = layout.accumulation == 1 || sharding == Sharding::kShardOptimizer ||
                           sharding == Sharding::kNoShard;
      for (const GradientAccumulation way : space.gradient_accumulation) {
        if (one_way && way != space.gradient_accumulation.front()) continue;
        layout.gradient_accumulation = way;
        layouts.push_back(layout);
      }
    }
  }
  return layouts;
}

}  // namespace meshplan::planner
