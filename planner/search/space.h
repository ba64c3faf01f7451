#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "planner/search/search.h"

namespace meshplan::planner {

/// Every choice that a layout leaves open. An empty list of sizes allows every divisor of the world
/// size; the other lists are what is tried.
struct SearchSpace {
  /// What is not tried: loss_chunks, where it is not 1, and accumulation, where no global batch is
  /// wanted.
  Layout base;
  std::vector<std::int64_t> pp;
  std::vector<std::int64_t> cp;
  std::vector<std::int64_t> tp;
  std::vector<std::int64_t> dp_shard;
  std::vector<std::int64_t> dp_replicate;
  std::vector<std::int64_t> microbatch_size = {1, 2, 4, 8, 16, 32, 64};
  /// With pp; without it is 1.
  std::vector<std::int64_t> virtual_stages = {1, 2, 4, 8};
  /// Of models with experts; an empty list allows every divisor of their number.
  std::vector<std::int64_t> expert_parallel;
  /// Sequences a step over all ranks; accumulation follows from it.
  std::optional<std::int64_t> global_batch_size;
  std::vector<Sharding> sharding = {Sharding::kFullShard,      Sharding::kShardGradOp,
                                    Sharding::kShardOptimizer, Sharding::kNoShard,
                                    Sharding::kHybridShard,    Sharding::kHybridShardZero2};
  std::vector<GradientAccumulation> gradient_accumulation = {GradientAccumulation::kSharded,
                                                             GradientAccumulation::kUnsharded};
  /// With tp; without it is off.
  std::vector<bool> sequence_parallel = {false, true};
  /// With sequence parallelism over tp; without it is off.
  std::vector<bool> async_tp = {false, true};
  std::vector<bool> optimizer_offload = {false, true};
  std::vector<ActivationCheckpointing> activation_checkpointing = {
      ActivationCheckpointing::kNone, ActivationCheckpointing::kSelective,
      ActivationCheckpointing::kFull};
};

/// The space without choices that the model or the cluster does not have: sizes of ep, and an
/// optimizer on a host that is not known. What is the only choice stays, to be rejected by its
/// rule.
SearchSpace narrowed(SearchSpace space, const ModelSpec& model, const ClusterSpec& cluster);

/// Layouts that do the same work in a microbatch, on as many ranks: they differ in how dp is
/// divided, in strategy, ep, where the optimizer is, and in what blocks recompute and keep.
struct Branch {
  /// Shards over the whole of dp, which takes least memory, but for an optimizer on the host.
  Layout layout;
  /// dp_replicate x dp_shard.
  std::int64_t dp = 1;
};

/// Every pp x cp x tp of a narrowed space, with one microbatch and nothing chosen that there is a
/// choice of: rules that it breaks all of branches_of() break. In this order, sizes ascending.
std::vector<Branch> meshes_of(const ClusterSpec& cluster, const SearchSpace& space);

/// The branches of a mesh: every microbatch that divides the global batch, with every choice of
/// virtual stages, sequence parallelism and asynchronous tp that has a meaning.
std::vector<Branch> branches_of(const SearchSpace& space, const Branch& mesh);

/// The layouts of a branch, without a choice of checkpointing: those that differ in nothing that
/// matters to the mesh are there once (hybrid strategies with replicas, the others without;
/// no_shard with nothing to shard over; ways to accumulate where there is something to accumulate).
std::vector<Layout> layouts_of(const SearchSpace& space, const Branch& branch);

}  // namespace meshplan::planner
