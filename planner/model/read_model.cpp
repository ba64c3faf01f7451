#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <vector>

#include "common/error.h"
#include "common/text.h"
#include "planner/catalog/catalog.h"
#include "planner/model/config_sections.h"
#include "planner/model/family.h"
#include "planner/model/feed_forward_model.h"

namespace meshplan::planner {
namespace {

using common::Complaints;
using common::Error;
using common::ErrorCode;
using common::Json;
using common::JsonObject;

/// transformers' names of activations.
constexpr std::array kActivations = {
    "gelu",    "gelu_10",    "gelu_accurate", "gelu_fast", "gelu_new",   "gelu_pytorch_tanh",
    "laplace", "leaky_relu", "linear",        "mish",      "quick_gelu", "relu",
    "relu2",   "relu6",      "sigmoid",       "silu",      "swish",      "tanh",
};

/// Keys of blocks that the step program has no operations for.
struct UnplannedKey {
  const char* key;
  const char* what;
};
constexpr std::array kUnplannedKeys = {
    UnplannedKey{"kv_lora_rank", "latent keys and values"},
    UnplannedKey{"linear_num_key_heads", "heads of linear attention"},
    UnplannedKey{"ssm_state_size", "state spaces"},
    UnplannedKey{"state_size", "state spaces"},
    UnplannedKey{"mamba_d_state", "state spaces"},
};

/// "; kv_lora_rank: ... are not planned", or nothing.
std::string unplanned(const JsonObject& object) {
  for (const auto& [key, what] : kUnplannedKeys) {
    if (!object.is_null(key)) return fmt::format("; {}: {} are not planned", key, what);
  }
  return "";
}

/// What any decoder needs, and the config of an unknown architecture may lack.
std::string missing_fields(const JsonObject& object) {
  std::vector<std::string> missing;
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads", "vocab_size", kTraitsKey}) {
    if (object.is_null(key)) missing.emplace_back(key);
  }
  return fmt::format("{}", fmt::join(missing, ", "));
}

[[noreturn]] void refuse_family(const JsonObject& object, const std::string& name) {
  const std::string where = object.where() + ".model_type";
  const std::string problem =
      name.empty() ? "is missing" : fmt::format("unknown family '{}'", name);
  const std::string remedy =
      object.is_null("text_config")
          ? fmt::format(
                "or describe the architecture under \"{}\" (docs/models.md); missing for "
                "that: {}",
                kTraitsKey, missing_fields(object))
          : "or save its text_config as a config.json of its own";
  throw Error(ErrorCode::kInvalidInput,
              fmt::format("{}; use {}, {}{}", problem, family_names(), remedy, unplanned(object)),
              where);
}

const Family& read_family(const JsonObject& object) {
  const std::string name = object.is_null("model_type") ? "" : object.text("model_type");
  if (const Family* family = find_family(name)) {
    if (family->family != ModelFamily::kOther || !object.is_null(kTraitsKey)) return *family;
  }
  if (object.is_null(kTraitsKey)) refuse_family(object, name.substr(0, 60));
  return family_of(ModelFamily::kOther);
}

/// Key-value heads where config.json is silent. A default that cannot be (32 for 4 heads) means one
/// for each head, as null does.
std::int64_t default_kv_heads(const ConfigFields& fields, const Family& family,
                              const std::string& key, std::int64_t heads) {
  const bool possible =
      !fields.has(key) && family.num_key_value_heads > 0 && heads % family.num_key_value_heads == 0;
  return possible ? family.num_key_value_heads : heads;
}

void read_head_dim(const ConfigFields& fields, const Family& family, ModelSpec& model) {
  const std::int64_t heads = model.num_attention_heads;
  const bool has_key = family.has_head_dim || !fields.is_null(kTraitsKey);
  if (has_key && !fields.is_null("head_dim")) {
    model.head_dim = fields.size("head_dim");
  } else if (family.head_dim > 0 && !fields.has("head_dim")) {
    model.head_dim = family.head_dim;
  } else if (heads > 0 && model.hidden_size % heads == 0) {
    model.head_dim = model.hidden_size / heads;
  } else if (heads > 0 && model.hidden_size > 0) {
    fields.complain("head_dim",
                    fmt::format("is not set, and num_attention_heads={} does not divide "
                                "hidden_size={}; set head_dim",
                                heads, model.hidden_size));
  }
}

void read_sizes(const ConfigFields& fields, const Family& family, ModelSpec& model) {
  const SizeKeys& keys = family.keys;
  const auto key = [&fields](const char* own, const char* common) {
    return fields.key(own, common);
  };
  model.hidden_size = fields.size(key(keys.hidden, kCommonKeys.hidden));
  const std::string intermediate = key(keys.intermediate, kCommonKeys.intermediate);
  model.intermediate_size =
      family.intermediate_per_hidden > 0
          ? fields.size(intermediate, family.intermediate_per_hidden * model.hidden_size)
          : fields.size(intermediate);
  model.num_hidden_layers =
      fields.size(key(keys.layers, kCommonKeys.layers), std::nullopt, kMaxLayers);
  model.vocab_size = fields.size(key(keys.vocabulary, kCommonKeys.vocabulary));
  model.max_position_embeddings =
      fields.size(key(keys.positions, kCommonKeys.positions), family.max_position_embeddings);
  model.num_attention_heads = fields.size(key(keys.heads, kCommonKeys.heads));
  const std::string kv_heads = key(keys.kv_heads, kCommonKeys.kv_heads);
  model.num_key_value_heads =
      fields.size(kv_heads, default_kv_heads(fields, family, kv_heads, model.num_attention_heads));
  read_head_dim(fields, family, model);
}

void read_rest(const ConfigFields& fields, const Family& family, ModelSpec& model) {
  const auto set_of = [&fields](const char* own, const char* common) {
    return fields.is_null(own) ? common : own;
  };
  const SizeKeys& keys = family.keys;
  model.rms_norm_eps =
      fields.number(set_of(keys.norm_epsilon, kCommonKeys.norm_epsilon), family.norm_epsilon, 0, 1);
  model.initializer_range =
      fields.number(set_of(keys.initializer, kCommonKeys.initializer), 0.02, 0, 1e6);
  model.attention_dropout = fields.number("attention_dropout", 0, 0, 1);
  model.tie_word_embeddings = fields.flag("tie_word_embeddings", family.tie_word_embeddings);
  const char* act = set_of(keys.activation, kCommonKeys.activation);
  model.activation = fields.text(act, family.activation);
  if (!model.activation.empty() && std::ranges::count(kActivations, model.activation) == 0) {
    fields.complain(act, fmt::format("'{:.60}' is unknown; use {}", model.activation,
                                     fmt::join(kActivations, ", ")));
  }
}

/// What must hold between fields that were read.
void check(const ConfigFields& fields, const ModelSpec& model) {
  for (const auto& [key, what] : kUnplannedKeys) {
    if (!fields.is_null(key)) fields.complain(key, fmt::format("{} are not planned", what));
  }
  const std::int64_t heads = model.num_attention_heads;
  const std::int64_t kv_heads = model.num_key_value_heads;
  if (heads > 0 && kv_heads > 0 && heads % kv_heads != 0) {
    fields.complain("num_key_value_heads",
                    fmt::format("{} must divide num_attention_heads={}; use {}", kv_heads, heads,
                                common::divisors(heads)));
  }
  if (model.positions == Positions::kRotary && model.head_dim % 2 != 0) {
    fields.complain("head_dim",
                    fmt::format("{} must be even: rotary positions turn pairs", model.head_dim));
  }
  if (model.positions == Positions::kLearned && model.max_position_embeddings == 0) {
    fields.complain("max_position_embeddings",
                    "is missing; learned positions need it, from 1 to 2147483648");
  }
  check_moe(fields, model);
}

ModelSpec read_model_file(std::filesystem::path path) {
  ModelSpec model = read_model_config(common::read_json_file(path), path.string());
  // Lexically, since a Hugging Face cache links config.json to a file of another folder.
  std::error_code ignored;
  path = std::filesystem::absolute(path, ignored).lexically_normal();
  model.name = path.filename() == "config.json" ? path.parent_path().filename().string()
                                                : path.stem().string();
  return model;
}

}  // namespace

const char* to_string(ModelFamily family) {
  return family == ModelFamily::kFeedForward ? kFeedForwardType : family_of(family).name;
}

ModelSpec read_model_config(const Json& config, const std::string& where) {
  const JsonObject object(config, where);
  if (is_feed_forward_config(object)) return read_feed_forward_config(object);
  const Family& family = read_family(object);
  Complaints complaints;
  const ConfigFields fields(object, complaints);
  ModelSpec model;
  model.name = fields.text("_name_or_path", "");
  model.family = family.family;
  static_cast<ModelTraits&>(model) = family.traits;
  read_sizes(fields, family, model);
  read_rest(fields, family, model);
  read_rope(fields, family, model);
  if (!fields.is_null(kTraitsKey)) {
    read_traits(fields, model);
  } else {
    for (const FlagKey& flag : family.flags) {
      model.*flag.trait = fields.flag(flag.key, flag.fallback);
    }
    read_window(fields, family, model);
    read_moe(fields, family, model);
    if (family.special != nullptr) family.special(fields, model);
  }
  if (model.positions != Positions::kRotary) model.rope = {};
  check(fields, model);
  complaints.throw_if_any(where);
  return model;
}

ModelSpec load_model(const std::string& model) {
  if (const auto text = catalog_text("models", model)) {
    const std::string where = "catalog model " + model;
    ModelSpec spec = read_model_config(common::parse_json(*text, where), where);
    spec.name = model;
    return spec;
  }
  std::filesystem::path path(model);
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) path /= "config.json";
  if (std::filesystem::is_regular_file(path, ignored)) return read_model_file(path);
  if (const auto similar = similar_catalog_name("models", model)) return load_model(*similar);
  throw Error(
      ErrorCode::kInvalidInput,
      fmt::format("'{:.300}' is neither a catalog name, nor a folder with config.json, nor a "
                  "config.json; the catalog has {}",
                  model, fmt::join(catalog_names("models"), ", ")),
      "model");
}

}  // namespace meshplan::planner
