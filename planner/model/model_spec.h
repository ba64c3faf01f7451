#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/json.h"
#include "planner/model/model_traits.h"

namespace meshplan::planner {

/// One for each model_type that config.json may name. kOther is a model that describes itself by
/// "meshplan" traits, kFeedForward the demo, which is no decoder (feed_forward_model.h).
enum class ModelFamily {
  kLlama,
  kMistral,
  kQwen2,
  kQwen3,
  kArcee,
  kBaichuan,
  kBloom,
  kChatglm,
  kCodegen,
  kCohere,
  kCohere2,
  kCwm,
  kDbrx,
  kDeepseek,
  kDots1,
  kErnie45,
  kExaone,
  kExaone4,
  kFalcon,
  kFlexOlmo,
  kGemma,
  kGemma2,
  kGemma3Text,
  kGlm,
  kGlm4,
  kGlm4Moe,
  kGpt2,
  kGptBigcode,
  kGptj,
  kGptNeo,
  kGptNeox,
  kGranite,
  kHelium,
  kHunyuanV1Dense,
  kInternlm,
  kInternlm2,
  kInternlm3,
  kJais2,
  kMinicpm,
  kMinimaxM2,
  kMinistral,
  kMinistral3,
  kMixtral,
  kMpt,
  kNemotron,
  kOlmo,
  kOlmo2,
  kOlmo3,
  kOlmoe,
  kOpenaiGpt,
  kOpt,
  kOrion,
  kPersimmon,
  kPhi,
  kPhi3,
  kPhimoe,
  kQwen,
  kQwen2Moe,
  kQwen3Moe,
  kSeedOss,
  kSmollm3,
  kStablelm,
  kStarcoder2,
  kVaultgemma,
  kOther,
  kFeedForward,
};

/// The config's model_type: "llama", "qwen3_moe", ...
const char* to_string(ModelFamily family);

/// How rotary angles are stretched for long contexts. kOther: in a way that is priced alike and
/// that the executor does not compute; RopeSpec::other_scaling names it.
enum class RopeScaling { kNone, kLinear, kLlama3, kOther };

/// Rotary position embedding: angle of pair i at position p is p * theta^(-2i/head_dim), changed by
/// the scaling (Su et al. 2021, arXiv 2104.09864; llama3: Hugging Face's "llama3" rope type).
struct RopeSpec {
  double theta = 10000.0;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  std::int64_t original_max_position_embeddings = 0;
  /// "yarn", "dynamic", "longrope", ...
  std::string other_scaling = {};
  /// Part of each head that is rotated.
  double rotated_part = 1.0;

  bool operator==(const RopeSpec&) const = default;
};

/// A mixture of experts in place of the feed-forward of some blocks, or of all: a router picks
/// experts_per_token of num_experts for each token, and the shared expert takes every token.
struct MoeSpec {
  /// 0: no mixture; the other fields are then without meaning.
  std::int64_t num_experts = 0;
  std::int64_t experts_per_token = 0;
  /// Width of one expert, and of the shared expert (0 = none).
  std::int64_t intermediate_size = 0;
  std::int64_t shared_intermediate_size = 0;
  /// Blocks with an ordinary feed-forward: the first ones, all but every sparse_step-th, and these.
  std::int64_t first_dense_blocks = 0;
  std::int64_t sparse_step = 1;
  std::vector<std::int64_t> dense_blocks = {};

  bool operator==(const MoeSpec&) const = default;
};

/// A decoder-only transformer, as its Hugging Face config.json describes it.
struct ModelSpec : ModelTraits {
  std::string name;
  ModelFamily family = ModelFamily::kLlama;
  std::int64_t hidden_size = 0;
  /// Width of the feed-forward of a block without experts.
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t vocab_size = 0;
  std::int64_t max_position_embeddings = 0;
  /// Width of the embedding where it is projected to hidden_size (OPT-350M); 0 = hidden_size.
  std::int64_t embedding_size = 0;
  /// Window of attention in tokens; 0 = none. Longer sequences than the window are refused by the
  /// layout rules.
  std::int64_t sliding_window = 0;
  /// How many blocks attend through the window: all, unless the config says otherwise.
  std::int64_t windowed_blocks = 0;
  /// Epsilon of the norms, of either kind.
  double rms_norm_eps = 1e-6;
  RopeSpec rope;
  MoeSpec moe;
  /// Of the feed-forward, as Hugging Face names it: "silu", "gelu_new", ...
  std::string activation = "silu";
  double attention_dropout = 0;
  bool tie_word_embeddings = false;
  /// Standard deviation of random initial weights.
  double initializer_range = 0.02;

  bool operator==(const ModelSpec&) const = default;
};

/// Whether this block has experts in place of its feed-forward.
bool is_moe_block(const ModelSpec& model, std::int64_t block);
/// How many blocks have.
std::int64_t moe_block_count(const ModelSpec& model);
/// The first block that has experts where block 0 has none, or none where it has; 0 where all
/// blocks are alike.
std::int64_t first_other_block(const ModelSpec& model);

/// The model of a Hugging Face config.json. Keys that do not shape the computation are ignored, as
/// there are many. Throws kInvalidInput with everything that is wrong: a missing field, a wrong
/// type, a size out of its bounds, heads that do not divide, an unknown family (with the fields of
/// a decoder that the config lacks).
ModelSpec read_model_config(const common::Json& config, const std::string& where);

/// `model` is a catalog name, a folder with config.json, or a config.json. The spec's name is the
/// catalog name, or the folder's. Throws kInvalidInput (with the catalog's names) when it is none
/// of these.
ModelSpec load_model(const std::string& model);

/// The spec as a config.json that read_model_config reads back identically, in Hugging Face's most
/// common spelling of its sizes; `name` is kept in "_name_or_path". Where the spelling of the
/// family does not say all of the traits, they are under "meshplan". Used inside plan.json.
common::Json to_json(const ModelSpec& model);

}  // namespace meshplan::planner
