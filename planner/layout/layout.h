#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/data_type.h"
#include "planner/layout/device_mesh.h"

namespace meshplan::planner {

/// What each rank of dp_shard keeps between uses; design table "Strategies".
enum class Sharding { kFullShard, kShardGradOp, kShardOptimizer, kNoShard };
enum class ActivationCheckpointing { kNone, kSelective, kFull };
/// kGlobalTokens: the mean over all tokens of the global batch. kPerRank: each rank's mean over its
/// tokens of a microbatch, averaged over microbatches and data-parallel ranks.
enum class LossNormalization { kGlobalTokens, kPerRank };

const char* to_string(Sharding sharding);
const char* to_string(ActivationCheckpointing checkpointing);
const char* to_string(LossNormalization normalization);
/// Throw kInvalidInput, naming `where` and the allowed names.
Sharding parse_sharding(const std::string& name, const std::string& where);
ActivationCheckpointing parse_activation_checkpointing(const std::string& name,
                                                       const std::string& where);
LossNormalization parse_loss_normalization(const std::string& name, const std::string& where);

/// What the user wants done in a step, whatever the layout.
struct Job {
  std::int64_t seq_length = 0;
  common::DataType param_dtype = common::DataType::kFloat32;
  common::DataType reduce_dtype = common::DataType::kFloat32;
  LossNormalization loss_normalization = LossNormalization::kGlobalTokens;
  /// Largest norm of the gradient; 0 = not clipped.
  double max_grad_norm = 0;
  /// False: AdamW decays matrices only.
  bool decay_norms_and_biases = true;

  bool operator==(const Job&) const = default;
};

/// Most pieces that the output head is cut into: each is a handful of operations in the program.
inline constexpr std::int64_t kMaxLossChunks = 4096;

/// How a step is laid out over the mesh.
struct Layout {
  DeviceMesh mesh;
  Sharding sharding = Sharding::kFullShard;
  bool sequence_parallel = false;
  ActivationCheckpointing activation_checkpointing = ActivationCheckpointing::kNone;
  /// Sequences per data-parallel rank and forward pass.
  std::int64_t microbatch_size = 1;
  /// Microbatches a step.
  std::int64_t accumulation = 1;
  /// Pieces that the tokens of a microbatch are cut into at the output head, so that only one
  /// piece's logits exist.
  std::int64_t loss_chunks = 1;
  /// Last blocks that stay gathered from their forward to their backward pass.
  std::int64_t blocks_kept_gathered = 1;

  bool operator==(const Layout&) const = default;
};

/// Sequences per step over all data-parallel ranks.
std::int64_t global_batch_size(const Layout& layout);

/// Tokens of one microbatch on one rank.
std::int64_t microbatch_tokens(const Layout& layout, const Job& job);

}  // namespace meshplan::planner
