#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/data_type.h"
#include "planner/layout/device_mesh.h"

namespace meshplan::planner {

struct ModelSpec;

/// What each rank of dp_shard keeps between uses (ZeRO: Rajbhandari et al. 2020, arXiv 1910.02054).
/// kFullShard (ZeRO-3): 1/F of everything, gathered before each use. kShardGradOp (ZeRO-2): the
/// same, gathered once a step. kShardOptimizer (ZeRO-1): whole parameters, 1/F of the optimizer
/// state. kNoShard: everything whole. The hybrid ones are the first two over replicas.
enum class Sharding {
  kFullShard,
  kShardGradOp,
  kShardOptimizer,
  kNoShard,
  kHybridShard,
  kHybridShardZero2
};
/// kSharded: each microbatch's gradient is reduced, and 1/F is kept. kUnsharded: whole gradients
/// are kept and reduced with the last microbatch; always so under kShardOptimizer.
enum class GradientAccumulation { kSharded, kUnsharded };
enum class ActivationCheckpointing { kNone, kSelective, kFull };
/// kGlobalTokens: the mean over all tokens of the global batch. kPerRank: each rank's mean over its
/// tokens of a microbatch, averaged over microbatches and data-parallel ranks.
enum class LossNormalization { kGlobalTokens, kPerRank };

const char* to_string(Sharding sharding);
const char* to_string(GradientAccumulation accumulation);
const char* to_string(ActivationCheckpointing checkpointing);
const char* to_string(LossNormalization normalization);
/// Throw kInvalidInput, naming `where` and the allowed names.
Sharding parse_sharding(const std::string& name, const std::string& where);
GradientAccumulation parse_gradient_accumulation(const std::string& name, const std::string& where);
ActivationCheckpointing parse_activation_checkpointing(const std::string& name,
                                                       const std::string& where);
LossNormalization parse_loss_normalization(const std::string& name, const std::string& where);

/// What the user wants done in a step, whatever the layout.
struct Job {
  std::int64_t seq_length = 0;
  common::DataType param_dtype = common::DataType::kFloat32;
  /// Of the operands of the blocks' matrix multiplies: param_dtype where it is not set, or float8.
  std::optional<common::DataType> matmul_dtype = {};
  common::DataType reduce_dtype = common::DataType::kFloat32;
  /// Of the parameters that AdamW updates: float32 or param_dtype.
  common::DataType master_dtype = common::DataType::kFloat32;
  /// Of AdamW's moments: master_dtype where it is not set, float32 or bfloat16.
  std::optional<common::DataType> moment_dtype = {};
  LossNormalization loss_normalization = LossNormalization::kGlobalTokens;
  /// Largest norm of the gradient; 0 = not clipped.
  double max_grad_norm = 0;
  /// False: AdamW decays matrices only.
  bool decay_norms_and_biases = true;

  bool operator==(const Job&) const = default;
};

/// What the job's choice comes to where it leaves it open.
common::DataType matmul_dtype(const Job& job);
common::DataType moment_dtype(const Job& job);
/// float8 as well as the names of common::parse_data_type().
common::DataType parse_matmul_dtype(const std::string& name, const std::string& where);

/// Most pieces that the output head is cut into: each is a handful of operations in the program.
inline constexpr std::int64_t kMaxLossChunks = 4096;

/// Most units that are gathered ahead.
inline constexpr std::int64_t kMaxPrefetchDepth = 3;

/// How a step is laid out over the mesh.
struct Layout {
  DeviceMesh mesh;
  /// Chunks of blocks that each rank of pp holds, one from each round of all the stages: the
  /// schedule is interleaved where they are more than one (Narayanan et al. 2021, arXiv 2104.04473,
  /// section 2.2).
  std::int64_t virtual_stages = 1;
  Sharding sharding = Sharding::kFullShard;
  GradientAccumulation gradient_accumulation = GradientAccumulation::kSharded;
  /// Norms and the residual stream are split by tokens over tp.
  bool sequence_parallel = false;
  /// Under it, gathers and reduce-scatters over tp are cut into messages that run beside the pieces
  /// of the matrix multiply that reads or makes them.
  bool async_tp = false;
  ActivationCheckpointing activation_checkpointing = ActivationCheckpointing::kNone;
  /// How many blocks, the first ones, do so; all of them where it is not set.
  std::optional<std::int64_t> checkpointed_blocks;
  /// Sequences per data-parallel rank and forward pass.
  std::int64_t microbatch_size = 1;
  /// Microbatches a step.
  std::int64_t accumulation = 1;
  /// Pieces that the tokens of a microbatch are cut into at the output head, so that only one
  /// piece's logits exist.
  std::int64_t loss_chunks = 1;
  /// Last blocks of each stage's chunk that stay gathered from a forward to the backward pass;
  /// under strategies that gather once a step all do.
  std::int64_t blocks_kept_gathered = 1;
  /// Units that are gathered ahead of the one that computes, where parameters are gathered for each
  /// pass; 0: each is waited for as soon as its gather is issued.
  std::int64_t prefetch_depth = 1;
  /// Masters and moments lie in the host's memory, where AdamW runs.
  bool optimizer_offload = false;

  bool operator==(const Layout&) const = default;
};

/// Whether sequence parallelism is on where nothing is said: with tp, if that divides the tokens of
/// a microbatch and the model has a residual stream.
bool default_sequence_parallel(const ModelSpec& model, const Layout& layout, const Job& job);

/// full_shard for hybrid_shard, shard_grad_op for hybrid_shard_zero2, the others themselves.
Sharding without_replicas(Sharding sharding);

/// What of a block's saved list its forward pass drops and its backward pass computes again.
/// Without the attention nothing but the block's input is left of the first half.
struct Recompute {
  bool qkv = false;
  bool attention = false;
  bool gate_up = false;

  bool operator==(const Recompute&) const = default;
};
Recompute recompute_of(const Layout& layout, std::int64_t block);

/// Whether gradients are kept whole from microbatch to microbatch.
bool accumulates_whole_gradients(const Layout& layout);

/// Sequences per step over all data-parallel ranks.
std::int64_t global_batch_size(const Layout& layout);

/// Tokens of one microbatch on one rank: cp divides each sequence.
std::int64_t microbatch_tokens(const Layout& layout, const Job& job);

}  // namespace meshplan::planner
