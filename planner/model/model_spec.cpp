#include "planner/model/model_spec.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

#include "common/error.h"
#include "planner/catalog/catalog.h"
#include "planner/model/feed_forward_model.h"

namespace meshplan::planner {
namespace {

using common::Error;
using common::ErrorCode;
using common::Json;
using common::JsonObject;

constexpr std::int64_t kMaxSize = std::int64_t{1} << 31;
constexpr std::int64_t kMaxLayers = 100'000;

/// What transformers' configuration class of a family takes where config.json is silent.
struct FamilyDefaults {
  ModelFamily family;
  const char* name;
  const char* architecture;
  std::int64_t num_key_value_heads;  // 0 = num_attention_heads
  std::int64_t head_dim;             // 0 = hidden_size / num_attention_heads
  std::int64_t max_position_embeddings;
};

constexpr std::array kFamilies = {
    FamilyDefaults{ModelFamily::kLlama, "llama", "LlamaForCausalLM", 0, 0, 2048},
    FamilyDefaults{ModelFamily::kMistral, "mistral", "MistralForCausalLM", 8, 0, 131072},
    FamilyDefaults{ModelFamily::kQwen2, "qwen2", "Qwen2ForCausalLM", 32, 0, 32768},
    FamilyDefaults{ModelFamily::kQwen3, "qwen3", "Qwen3ForCausalLM", 32, 128, 32768},
};
constexpr double kDefaultRopeTheta = 10000.0;
constexpr std::int64_t kDefaultSlidingWindow = 4096;
constexpr std::int64_t kDefaultMaxWindowLayers = 28;

const FamilyDefaults& defaults_of(ModelFamily family) {
  return kFamilies[static_cast<std::size_t>(family)];
}

[[noreturn]] void refuse(const JsonObject& object, const std::string& key, const std::string& why) {
  throw Error(ErrorCode::kInvalidInput, why, object.where() + "." + key);
}

std::int64_t size(const JsonObject& object, const std::string& key) {
  return object.integer(key, 1, kMaxSize);
}

std::int64_t size_or(const JsonObject& object, const std::string& key, std::int64_t fallback) {
  return object.is_null(key) ? fallback : size(object, key);
}

const FamilyDefaults& read_family(const JsonObject& object) {
  const std::string name = object.is_null("model_type") ? "" : object.text("model_type");
  for (const FamilyDefaults& family : kFamilies) {
    if (name == family.name) return family;
  }
  const std::string problem =
      name.empty() ? "is missing" : fmt::format("unknown family '{}'", name);
  refuse(object, "model_type", problem + "; use llama, mistral, qwen2 or qwen3");
}

/// Features that change what is computed and that the executor has no layer for.
void refuse_other_computations(const JsonObject& object) {
  if (const std::string act = object.text_or("hidden_act", "silu"); act != "silu") {
    refuse(object, "hidden_act", fmt::format("'{}' is not supported; it must be silu", act));
  }
  if (object.flag_or("mlp_bias", false)) {
    refuse(object, "mlp_bias", "a bias in the feed-forward is not supported; it must be false");
  }
  if (const double rate = object.number_or("attention_dropout", 0.0); rate != 0.0) {
    refuse(object, "attention_dropout", fmt::format("{} is not supported; it must be 0", rate));
  }
}

void read_attention_heads(const JsonObject& object, const FamilyDefaults& family,
                          ModelSpec& model) {
  model.num_attention_heads = size(object, "num_attention_heads");
  // A default that cannot be (32 key-value heads for 4 heads) means one for each head, as null
  // does.
  const bool family_default = !object.has("num_key_value_heads") &&
                              family.num_key_value_heads > 0 &&
                              model.num_attention_heads % family.num_key_value_heads == 0;
  model.num_key_value_heads =
      size_or(object, "num_key_value_heads",
              family_default ? family.num_key_value_heads : model.num_attention_heads);
  if (model.num_attention_heads % model.num_key_value_heads != 0) {
    refuse(object, "num_key_value_heads",
           fmt::format("{} must divide num_attention_heads={}", model.num_key_value_heads,
                       model.num_attention_heads));
  }
  if (!object.is_null("head_dim")) {
    model.head_dim = size(object, "head_dim");
  } else if (!object.has("head_dim") && family.head_dim > 0) {
    model.head_dim = family.head_dim;
  } else if (model.hidden_size % model.num_attention_heads == 0) {
    model.head_dim = model.hidden_size / model.num_attention_heads;
  } else {
    refuse(object, "head_dim",
           fmt::format("is not set, and num_attention_heads={} does not divide hidden_size={}; "
                       "set head_dim",
                       model.num_attention_heads, model.hidden_size));
  }
  if (model.head_dim % 2 != 0) {
    refuse(object, "head_dim",
           fmt::format("{} must be even: rotary positions turn pairs", model.head_dim));
  }
}

void read_biases(const JsonObject& object, ModelSpec& model) {
  if (model.family == ModelFamily::kQwen2) {
    model.qkv_bias = true;
  } else if (model.family != ModelFamily::kMistral) {
    model.qkv_bias = object.flag_or("attention_bias", false);
    model.attention_output_bias = model.qkv_bias;
  }
  model.qk_norm = model.family == ModelFamily::kQwen3;
}

/// The object that holds the rope type: "rope_scaling" of transformers 4 or "rope_parameters" of 5.
std::optional<JsonObject> rope_parameters(const JsonObject& object) {
  std::optional<JsonObject> found;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (object.is_null(key)) continue;
    JsonObject parameters = object.object(key);
    if (parameters.json().empty()) continue;
    if (found) refuse(object, key, "is set beside rope_parameters; keep one of the two");
    found = std::move(parameters);
  }
  return found;
}

std::string read_rope_type(const JsonObject& parameters) {
  for (const char* layer_type : {"full_attention", "sliding_attention"}) {
    if (parameters.has(layer_type)) {
      refuse(parameters, layer_type,
             "rotary parameters by layer type are not supported; give one set for all layers");
    }
  }
  const char* key = parameters.is_null("rope_type") ? "type" : "rope_type";
  // Only rope_parameters may leave the type out, since there it also carries a plain rope_theta.
  if (parameters.is_null(key) && parameters.is_null("factor")) return "default";
  const std::string type = parameters.text(key);
  if (type != "default" && type != "linear" && type != "llama3") {
    refuse(parameters, key,
           fmt::format("'{}' is not supported; use default, linear or llama3", type));
  }
  return type;
}

void refuse_partial_rotation(const JsonObject& object) {
  if (const double part = object.number_or("partial_rotary_factor", 1.0); part != 1.0) {
    refuse(object, "partial_rotary_factor", fmt::format("{} is not supported; use 1", part));
  }
}

RopeSpec read_rope(const JsonObject& object, std::int64_t max_position_embeddings) {
  RopeSpec rope;
  rope.theta = object.number_or("rope_theta", kDefaultRopeTheta, 1.0);
  refuse_partial_rotation(object);
  const std::optional<JsonObject> parameters = rope_parameters(object);
  if (!parameters) return rope;
  rope.theta = parameters->number_or("rope_theta", rope.theta, 1.0);
  refuse_partial_rotation(*parameters);
  const std::string type = read_rope_type(*parameters);
  if (type == "default") return rope;
  rope.factor = parameters->number("factor", 1.0);
  if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
    return rope;
  }
  rope.scaling = RopeScaling::kLlama3;
  rope.low_freq_factor = parameters->number("low_freq_factor", 0.0);
  rope.high_freq_factor = parameters->number("high_freq_factor", 0.0);
  if (rope.low_freq_factor <= 0 || rope.high_freq_factor <= rope.low_freq_factor) {
    refuse(*parameters, "high_freq_factor",
           fmt::format("{} must be above low_freq_factor={}, and both above 0",
                       rope.high_freq_factor, rope.low_freq_factor));
  }
  rope.original_max_position_embeddings =
      size_or(*parameters, "original_max_position_embeddings",
              size_or(object, "original_max_position_embeddings", max_position_embeddings));
  return rope;
}

/// Whether any layer of a qwen model attends through the window: as layer_types says, else those
/// from max_window_layers on.
bool has_windowed_layer(const JsonObject& object, std::int64_t layers) {
  if (object.is_null("layer_types")) {
    return object.integer_or("max_window_layers", kDefaultMaxWindowLayers) < layers;
  }
  const Json& types = object.at("layer_types");
  if (!types.is_array() || std::cmp_not_equal(types.size(), layers)) {
    refuse(object, "layer_types",
           fmt::format("must be an array of num_hidden_layers={} names", layers));
  }
  bool windowed = false;
  for (const Json& type : types) {
    if (type != "full_attention" && type != "sliding_attention") {
      refuse(object, "layer_types",
             "each must be \"full_attention\" or \"sliding_attention\", one is " + type.dump());
    }
    windowed = windowed || type == "sliding_attention";
  }
  return windowed;
}

/// The window of the model, 0 for none. Where only some layers have one it counts for all: up to
/// the window, windowed and full attention are the same, and longer sequences are refused.
std::int64_t read_sliding_window(const JsonObject& object, const ModelSpec& model) {
  if (model.family == ModelFamily::kLlama) return 0;
  if (!object.has("sliding_window") && model.family == ModelFamily::kMistral) {
    return kDefaultSlidingWindow;
  }
  if (model.family != ModelFamily::kMistral &&
      (!object.flag_or("use_sliding_window", false) ||
       !has_windowed_layer(object, model.num_hidden_layers))) {
    return 0;
  }
  if (!object.has("sliding_window")) return kDefaultSlidingWindow;
  return size_or(object, "sliding_window", 0);
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

Json rope_scaling_json(const RopeSpec& rope) {
  switch (rope.scaling) {
    case RopeScaling::kNone:
      return nullptr;
    case RopeScaling::kLinear:
      return Json{{"rope_type", "linear"}, {"factor", rope.factor}};
    case RopeScaling::kLlama3:
      return Json{{"rope_type", "llama3"},
                  {"factor", rope.factor},
                  {"low_freq_factor", rope.low_freq_factor},
                  {"high_freq_factor", rope.high_freq_factor},
                  {"original_max_position_embeddings", rope.original_max_position_embeddings}};
  }
  return nullptr;
}

/// The keys that only some families have.
void add_family_keys(const ModelSpec& model, Json& json) {
  const bool window = model.sliding_window > 0;
  switch (model.family) {
    case ModelFamily::kFeedForward:
      return;
    case ModelFamily::kLlama:
      json["attention_bias"] = model.qkv_bias;
      json["mlp_bias"] = false;
      return;
    case ModelFamily::kMistral:
      json["sliding_window"] = window ? Json(model.sliding_window) : Json(nullptr);
      return;
    case ModelFamily::kQwen3:
      json["attention_bias"] = model.qkv_bias;
      [[fallthrough]];
    case ModelFamily::kQwen2:
      json["use_sliding_window"] = window;
      json["sliding_window"] = window ? Json(model.sliding_window) : Json(nullptr);
      json["max_window_layers"] = window ? 0 : model.num_hidden_layers;
      return;
  }
}

}  // namespace

const char* to_string(ModelFamily family) {
  return family == ModelFamily::kFeedForward ? kFeedForwardType : defaults_of(family).name;
}

ModelSpec read_model_config(const Json& config, const std::string& where) {
  const JsonObject object(config, where);
  if (is_feed_forward_config(object)) return read_feed_forward_config(object);
  const FamilyDefaults& family = read_family(object);
  refuse_other_computations(object);
  ModelSpec model;
  model.name = object.text_or("_name_or_path", "");
  model.family = family.family;
  model.hidden_size = size(object, "hidden_size");
  model.intermediate_size = size(object, "intermediate_size");
  model.num_hidden_layers = object.integer("num_hidden_layers", 1, kMaxLayers);
  model.vocab_size = size(object, "vocab_size");
  model.max_position_embeddings =
      size_or(object, "max_position_embeddings", family.max_position_embeddings);
  read_attention_heads(object, family, model);
  read_biases(object, model);
  model.rms_norm_eps = object.number_or("rms_norm_eps", 1e-6, 0.0);
  model.rope = read_rope(object, model.max_position_embeddings);
  model.sliding_window = read_sliding_window(object, model);
  model.tie_word_embeddings = object.flag_or("tie_word_embeddings", false);
  model.initializer_range = object.number_or("initializer_range", 0.02, 0.0);
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
  throw Error(ErrorCode::kInvalidInput,
              fmt::format("'{}' is neither a catalog name, nor a folder with config.json, nor a "
                          "config.json; the catalog has {}",
                          model, fmt::join(catalog_names("models"), ", ")),
              "model");
}

Json to_json(const ModelSpec& model) {
  if (is_feed_forward(model)) return feed_forward_json(model);
  Json json;
  json["_name_or_path"] = model.name;
  json["architectures"] = Json::array({defaults_of(model.family).architecture});
  json["model_type"] = to_string(model.family);
  json["hidden_size"] = model.hidden_size;
  json["intermediate_size"] = model.intermediate_size;
  json["num_hidden_layers"] = model.num_hidden_layers;
  json["num_attention_heads"] = model.num_attention_heads;
  json["num_key_value_heads"] = model.num_key_value_heads;
  json["head_dim"] = model.head_dim;
  json["vocab_size"] = model.vocab_size;
  json["max_position_embeddings"] = model.max_position_embeddings;
  json["hidden_act"] = "silu";
  json["rms_norm_eps"] = model.rms_norm_eps;
  // The spelling of transformers 4, which 5 reads too.
  json["rope_theta"] = model.rope.theta;
  json["rope_scaling"] = rope_scaling_json(model.rope);
  json["tie_word_embeddings"] = model.tie_word_embeddings;
  json["initializer_range"] = model.initializer_range;
  add_family_keys(model, json);
  return json;
}

}  // namespace meshplan::planner
