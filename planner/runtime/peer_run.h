#pragma once

#include <cstdint>

#include "planner/layout/device_mesh.h"
#include "planner/layout/layout.h"
#include "planner/runtime/hardware.h"
#include "planner/runtime/runtime_profile.h"

namespace meshplan::planner {

/// The shape of a decoder-only transformer, as far as it sets a step's operations; the names are
/// those of ModelSpec.
struct PeerModel {
  std::int64_t num_hidden_layers = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  /// SwiGLU with three matrices and rotary positions; otherwise GELU with two, learned positions.
  bool gated_mlp = true;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t vocab_size = 0;
  bool tie_word_embeddings = false;
};

/// Matrices of a block and norms; of all blocks, embedding and head.
double block_parameters(const PeerModel& model);
double parameters(const PeerModel& model);

/// What a block keeps and computes again, by the names of the programs that do so: kSelectiveOp
/// saves every second matrix multiply, kSelectiveAttention recomputes the attention core alone,
/// kSelectiveGraph is a compiler's choice, kSecondBlocks checkpoints every second block.
enum class PeerCheckpointing {
  kNone,
  kFull,
  kSelectiveOp,
  kSelectiveAttention,
  kSelectiveGraph,
  kSecondBlocks
};

/// A training run of any of the runtimes.
struct PeerRun {
  const RuntimeProfile* runtime = nullptr;
  Hardware hardware;
  PeerModel model;
  DeviceMesh mesh;
  std::int64_t virtual_stages = 1;
  Sharding sharding = Sharding::kFullShard;
  bool sequence_parallel = false;
  bool async_tp = false;
  bool fp8 = false;
  bool chunked_loss = false;
  /// Otherwise the scores of all pairs of tokens pass through memory.
  bool fused_attention = true;
  PeerCheckpointing checkpointing = PeerCheckpointing::kNone;
  std::int64_t microbatch_size = 1;
  std::int64_t accumulation = 1;
  std::int64_t seq_length = 0;
  /// Weights, gradients and optimizer before sharding.
  double state_bytes_per_parameter = 16;

  /// All states in bfloat16, after which such trainers differ.
  bool pure() const { return state_bytes_per_parameter == 8; }
};

/// The largest sizes that are priced: far above any real run, and such that no product of them that
/// is formed leaves 63 bits.
inline constexpr std::int64_t kMaxPeerWidth = std::int64_t{1} << 24;
inline constexpr std::int64_t kMaxPeerTokens = std::int64_t{1} << 32;
inline constexpr std::int64_t kMaxPeerLayers = std::int64_t{1} << 14;
inline constexpr std::int64_t kMaxPeerRanks = std::int64_t{1} << 30;

}  // namespace meshplan::planner
