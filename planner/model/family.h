#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "planner/model/config_fields.h"
#include "planner/model/model_spec.h"

namespace meshplan::planner {

/// How a family spells the sizes in config.json; the common spelling is read as well.
struct SizeKeys {
  const char* hidden = "hidden_size";
  const char* layers = "num_hidden_layers";
  const char* heads = "num_attention_heads";
  const char* kv_heads = "num_key_value_heads";
  const char* intermediate = "intermediate_size";
  const char* vocabulary = "vocab_size";
  const char* positions = "max_position_embeddings";
  const char* norm_epsilon = "rms_norm_eps";
  const char* activation = "hidden_act";
  const char* initializer = "initializer_range";
};
inline constexpr SizeKeys kCommonKeys;

/// A trait that config.json may set, and what holds where it does not.
struct FlagKey {
  bool ModelTraits::*trait;
  const char* key;
  bool fallback;
};

/// Biases as most families spell them.
inline constexpr std::array kAttentionBias = {
    FlagKey{&ModelTraits::qkv_bias, "attention_bias", false},
    FlagKey{&ModelTraits::attention_output_bias, "attention_bias", false}};
inline constexpr std::array kAttentionAndMlpBias = {
    FlagKey{&ModelTraits::qkv_bias, "attention_bias", false},
    FlagKey{&ModelTraits::attention_output_bias, "attention_bias", false},
    FlagKey{&ModelTraits::feed_forward_bias, "mlp_bias", false}};

/// Which blocks attend through the window. kNone: none. kAll: all, unless sliding_window is null.
/// kSwitched: with use_sliding_window, those from max_window_layers on, or as layer_types says.
/// kPattern: as layer_types says, else all but every sliding_window_pattern-th. kTyped: as
/// layer_types says, else all.
enum class WindowRule { kNone, kAll, kSwitched, kPattern, kTyped };

struct WindowKeys {
  WindowRule rule = WindowRule::kNone;
  /// Tokens where config.json is silent; 0 = no window.
  std::int64_t tokens = 0;
  /// Every how many blocks one attends to all (kPattern).
  std::int64_t pattern = 0;
};

/// How a family spells its mixture of experts. A null key: config.json does not say it.
struct MoeKeys {
  const char* experts = "num_experts";
  std::int64_t default_experts = 0;
  std::int64_t default_per_token = 0;
  /// Null: the experts are as wide as intermediate_size.
  const char* expert_size = "moe_intermediate_size";
  std::int64_t default_expert_size = 0;
  const char* shared_size = nullptr;
  std::int64_t default_shared_size = 0;
  /// Shared experts, each as wide as the others.
  const char* shared_experts = nullptr;
  std::int64_t default_shared_experts = 0;
  const char* first_dense = nullptr;
  std::int64_t default_first_dense = 0;
  /// decoder_sparse_step and mlp_only_layers.
  bool sparse_step = false;
};

/// As DeepSeek spells it, and those that came after.
inline constexpr MoeKeys kDeepseekMoe = {.experts = "n_routed_experts",
                                         .default_per_token = 1,
                                         .default_expert_size = 1408,
                                         .shared_experts = "n_shared_experts",
                                         .first_dense = "first_k_dense_replace"};

/// Names of modules in a checkpoint; a parameter's name adds ".weight" or ".bias". Those of a block
/// come after its prefix.
struct ModuleNames {
  const char* embedding = "model.embed_tokens";
  const char* position_embedding = "model.embed_positions";
  const char* embedding_norm = "model.embed_norm";
  const char* embedding_projection = "model.project_in";
  const char* head_projection = "model.project_out";
  const char* blocks = "model.layers";
  const char* final_norm = "model.norm";
  const char* output_head = "lm_head";
  const char* input_norm = "input_layernorm";
  const char* feed_forward_norm = "post_attention_layernorm";
  /// The two norms before parallel branches that have one each; null: as the two above.
  const char* parallel_attention_norm = nullptr;
  const char* parallel_feed_forward_norm = nullptr;
  const char* attention_output_norm = "post_attention_layernorm";
  const char* feed_forward_output_norm = "post_feedforward_layernorm";
  const char* query = "self_attn.q_proj";
  const char* key = "self_attn.k_proj";
  const char* value = "self_attn.v_proj";
  /// One matrix for the three; null: three matrices.
  const char* query_key_value = nullptr;
  const char* attention_output = "self_attn.o_proj";
  const char* query_norm = "self_attn.q_norm";
  const char* key_norm = "self_attn.k_norm";
  /// Norms of each head are parameters of their own, by the head's number; false: one matrix.
  bool numbered_head_norms = false;
  const char* gate = "mlp.gate_proj";
  const char* up = "mlp.up_proj";
  /// One matrix for gate and up; null: two matrices.
  const char* gate_up = nullptr;
  const char* down = "mlp.down_proj";
  const char* router = "mlp.gate";
  const char* experts = "mlp.experts";
  const char* expert_gate = "gate_proj";
  const char* expert_up = "up_proj";
  const char* expert_down = "down_proj";
  const char* shared_expert = "mlp.shared_expert";
  const char* shared_expert_gate = "mlp.shared_expert_gate";
  /// Weights of blocks are stored [inputs, outputs] (GPT-2's Conv1D).
  bool inputs_first = false;
  /// The experts of a block are one parameter for each matrix, [experts x width, hidden] (DBRX).
  bool experts_in_one = false;
};

/// One architecture: what transformers' configuration class takes where config.json is silent, how
/// it spells things, and what its blocks are made of.
struct Family {
  ModelFamily family = ModelFamily::kOther;
  const char* name = "";
  const char* architecture = "";
  ModelTraits traits = {};
  std::span<const FlagKey> flags = {};
  SizeKeys keys = kCommonKeys;
  /// 0 = num_attention_heads.
  std::int64_t num_key_value_heads = 0;
  /// 0 = hidden_size / num_attention_heads; has_head_dim: config.json may set it.
  std::int64_t head_dim = 0;
  bool has_head_dim = false;
  /// 0 = no limit.
  std::int64_t max_position_embeddings = 2048;
  /// Rows of the position table beyond max_position_embeddings.
  std::int64_t position_offset = 0;
  /// Where config.json is silent; 0 = it must say it.
  std::int64_t intermediate_per_hidden = 0;
  const char* activation = "silu";
  double norm_epsilon = 1e-6;
  double rope_theta = 10000.0;
  double rotated_part = 1.0;
  bool tie_word_embeddings = false;
  WindowKeys window = {};
  MoeKeys moe = {.experts = nullptr};
  /// What the tables above cannot say: reads it from the config into the spec.
  void (*special)(const ConfigFields& fields, ModelSpec& model) = nullptr;
  ModuleNames names = {};
};

/// The rows, in three files.
std::span<const Family> llama_families();
std::span<const Family> gpt_families();
std::span<const Family> own_code_families();

/// All of them, in the order of ModelFamily.
std::span<const Family> families();
const Family& family_of(ModelFamily family);
/// Null when there is none of that name.
const Family* find_family(std::string_view model_type);
/// "arcee, bloom, ...": in ascending order, without kOther.
std::string family_names();

}  // namespace meshplan::planner
