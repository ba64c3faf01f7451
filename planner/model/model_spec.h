#pragma once

#include <cstdint>
#include <string>

#include "common/json.h"

namespace meshplan::planner {

enum class ModelFamily { kLlama, kMistral, kQwen2, kQwen3, kFeedForward };

/// "llama", "mistral", "qwen2", "qwen3" or "meshplan_feed_forward": the config's model_type.
const char* to_string(ModelFamily family);

/// How rotary angles are stretched for long contexts.
enum class RopeScaling { kNone, kLinear, kLlama3 };

/// Rotary position embedding: angle of pair i at position p is p * theta^(-2i/head_dim), changed by
/// the scaling (Su et al. 2021, arXiv 2104.09864; llama3: Hugging Face's "llama3" rope type).
struct RopeSpec {
  double theta = 10000.0;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  std::int64_t original_max_position_embeddings = 0;

  bool operator==(const RopeSpec&) const = default;
};

/// A decoder-only transformer, as its Hugging Face config.json describes it: RMSNorm, rotary
/// positions, grouped-query attention, SwiGLU feed-forward.
struct ModelSpec {
  std::string name;
  ModelFamily family = ModelFamily::kLlama;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t vocab_size = 0;
  std::int64_t max_position_embeddings = 0;
  /// Window of attention in tokens; 0 = none. Longer sequences than the window are refused by the
  /// layout rules.
  std::int64_t sliding_window = 0;
  double rms_norm_eps = 1e-6;
  RopeSpec rope;
  bool qkv_bias = false;
  bool attention_output_bias = false;
  /// RMSNorm over head_dim on queries and keys before the rotation (qwen3).
  bool qk_norm = false;
  bool tie_word_embeddings = false;
  /// Standard deviation of random initial weights.
  double initializer_range = 0.02;

  bool operator==(const ModelSpec&) const = default;
};

/// The model of a Hugging Face config.json. Keys that do not shape the computation are ignored, as
/// there are many. Throws kInvalidInput for a missing field, a wrong type, an unknown family or a
/// feature that is not computed (another activation than silu, a bias in the feed-forward, an
/// unknown rope type), naming field and remedy.
ModelSpec read_model_config(const common::Json& config, const std::string& where);

/// `model` is a catalog name, a folder with config.json, or a config.json. The spec's name is the
/// catalog name, or the folder's. Throws kInvalidInput (with the catalog's names) when it is none
/// of these.
ModelSpec load_model(const std::string& model);

/// The spec as a Hugging Face config.json that read_model_config reads back identically; `name` is
/// kept in
/// "_name_or_path". Used inside plan.json.
common::Json to_json(const ModelSpec& model);

}  // namespace meshplan::planner
