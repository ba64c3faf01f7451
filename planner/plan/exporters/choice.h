#pragma once

#include <array>
#include <string>
#include <vector>

namespace meshplan::planner {

struct Plan;

/// What a plan may ask of a trainer. A target lists those that it has words for.
enum class Choice {
  kPp,
  kVirtualStages,
  kReplicas,
  kReplicasOfShards,
  kCp,
  kTp,
  kEp,
  kFullShard,
  kShardGradOp,
  kShardOptimizer,
  kShardedAccumulation,
  kUnshardedAccumulation,
  kSequenceParallel,
  kPlainTp,
  kAsyncTp,
  kSelectiveCheckpointing,
  kFullCheckpointing,
  kCheckpointedBlocks,
  kLossChunks,
  kBlocksKeptGathered,
  kPrefetchDepth,
  kOptimizerOffload,
  kFloat8,
  kFloat16,
  kFloat32,
  kNarrowReduce,
  kWideReduce,
  kNarrowMaster,
  kMomentDtype,
  kDecayAll,
  kDecayMatrices,
};

/// A choice, when a plan makes it, and what to say where the target has no words for it.
struct ChoiceRule {
  Choice choice;
  /// In docs and --list: "pp", "blocks_kept_gathered", ...
  const char* name;
  bool (*made)(const Plan& plan);
  /// The value, and the remedy.
  std::string (*refusal)(const Plan& plan);
  /// Makes the nearest choice instead; null where that would be another mesh or arithmetic.
  void (*without)(Plan& plan);
};

/// One for each choice, in their order.
const std::vector<ChoiceRule>& choice_rules();

}  // namespace meshplan::planner
