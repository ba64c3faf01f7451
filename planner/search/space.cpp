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

/// The choice where there is no other.
template <class Choice>
std::optional<Choice> only_one(const std::vector<Choice>& choices) {
  return choices.size() == 1 ? std::optional<Choice>(choices.front()) : std::nullopt;
}

/// Each with every choice of sequence parallelism and asynchronous tp.
void add_branches(const SearchSpace& space, Branch branch, std::vector<Branch>& branches) {
  Layout& layout = branch.layout;
  const bool tp = layout.mesh.sizes[Axis::kTp] > 1;
  for (const bool sequence_parallel : space.sequence_parallel) {
    // Without tp there is one way, as there is without what is cut into pieces.
    if (!tp && sequence_parallel != space.sequence_parallel.front()) continue;
    layout.sequence_parallel = tp && sequence_parallel;
    for (const bool async_tp : space.async_tp) {
      if (!layout.sequence_parallel && async_tp != space.async_tp.front()) continue;
      // Where it has to be on, whole tokens on each rank of tp rule it out.
      if (tp && !layout.sequence_parallel && only_one(space.async_tp) == true) continue;
      layout.async_tp = layout.sequence_parallel && async_tp;
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

SearchSpace narrowed(SearchSpace space, const ModelSpec& model, const ClusterSpec& cluster) {
  if (space.expert_parallel.empty()) {
    space.expert_parallel = {1};
    if (model.moe.num_experts > 0)
      space.expert_parallel = allowed_divisors(model.moe.num_experts, {});
  }
  const bool has_host = cluster.device.kind == DeviceKind::kGpu &&
                        cluster.device.host_bandwidth.value > 0 &&
                        cluster.host_memory_bandwidth.value > 0;
  if (!has_host && space.optimizer_offload.size() > 1) space.optimizer_offload = {false};
  return space;
}

std::vector<Branch> meshes_of(const ClusterSpec& cluster, const SearchSpace& space) {
  std::vector<Branch> meshes;
  const std::int64_t world = world_size(cluster);
  for (const std::int64_t pp : allowed_divisors(world, space.pp)) {
    for (const std::int64_t cp : allowed_divisors(world / pp, space.cp)) {
      for (const std::int64_t tp : allowed_divisors(world / pp / cp, space.tp)) {
        Branch& mesh =
            meshes.emplace_back(Branch{.layout = space.base, .dp = world / pp / cp / tp});
        mesh.layout.mesh.ranks_per_node = cluster.devices_per_node;
        AxisSizes& sizes = mesh.layout.mesh.sizes;
        sizes[Axis::kPp] = pp;
        sizes[Axis::kCp] = cp;
        sizes[Axis::kTp] = tp;
        sizes[Axis::kDpReplicate] = 1;
        sizes[Axis::kDpShard] = mesh.dp;
        mesh.layout.microbatch_size = 1;
        mesh.layout.accumulation = 1;
        mesh.layout.sharding = Sharding::kFullShard;
        mesh.layout.virtual_stages = 1;
        mesh.layout.mesh.expert_parallel = only_one(space.expert_parallel).value_or(1);
        mesh.layout.sequence_parallel = false;
        mesh.layout.async_tp = false;
        mesh.layout.optimizer_offload = only_one(space.optimizer_offload).value_or(false);
      }
    }
  }
  return meshes;
}

std::vector<Branch> branches_of(const SearchSpace& space, const Branch& mesh) {
  std::vector<Branch> branches;
  Branch branch = mesh;
  for (const std::int64_t microbatch : space.microbatch_size) {
    branch.layout.microbatch_size = microbatch;
    const std::optional<std::int64_t> accumulation = accumulation_of(space, branch);
    if (!accumulation) continue;
    branch.layout.accumulation = *accumulation;
    for (const std::int64_t chunks : space.virtual_stages) {
      const bool one_way = mesh.layout.mesh.sizes[Axis::kPp] == 1;
      if (one_way && chunks != space.virtual_stages.front()) continue;
      branch.layout.virtual_stages = one_way ? 1 : chunks;
      add_branches(space, branch, branches);
    }
  }
  return branches;
}

std::vector<Layout> layouts_of(const SearchSpace& space, const Branch& branch) {
  std::vector<Layout> layouts;
  Layout layout = branch.layout;
  const auto add_ways = [&] {
    const std::int64_t shards = sharding_ranks(layout.mesh);
    for (const std::int64_t experts : space.expert_parallel) {
      if (shards % experts != 0) continue;
      layout.mesh.expert_parallel = experts;
      for (const bool offload : space.optimizer_offload) {
        layout.optimizer_offload = offload;
        layouts.push_back(layout);
      }
    }
  };
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
        add_ways();
      }
    }
  }
  return layouts;
}

}  // namespace meshplan::planner
