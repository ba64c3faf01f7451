#include "planner/model/config_sections.h"
#include "planner/model/family.h"
#include "planner/model/feed_forward_model.h"

namespace meshplan::planner {
namespace {

using common::Json;

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
    case RopeScaling::kOther:
      return Json{{"rope_type", rope.other_scaling}, {"factor", rope.factor}};
  }
  return nullptr;
}

void write_switched_window(const ModelSpec& model, Json& json) {
  const bool window = model.sliding_window > 0;
  json["use_sliding_window"] = window;
  json["sliding_window"] = window ? Json(model.sliding_window) : Json(nullptr);
  json["max_window_layers"] = model.num_hidden_layers - (window ? model.windowed_blocks : 0);
}

/// Writes the keys of the families that are trained, in their own spelling. False where that does
/// not say all of the spec.
bool write_family_keys(const ModelSpec& model, Json& json) {
  ModelTraits said = family_of(model.family).traits;
  bool all_windowed = true;
  switch (model.family) {
    case ModelFamily::kLlama:
      json["mlp_bias"] = model.feed_forward_bias;
      said.feed_forward_bias = model.feed_forward_bias;
      break;
    case ModelFamily::kMistral:
      json["sliding_window"] =
          model.sliding_window > 0 ? Json(model.sliding_window) : Json(nullptr);
      all_windowed = model.sliding_window == 0 || model.windowed_blocks == model.num_hidden_layers;
      break;
    case ModelFamily::kQwen2:
    case ModelFamily::kQwen3:
      write_switched_window(model, json);
      break;
    default:
      return false;
  }
  if (model.family == ModelFamily::kLlama || model.family == ModelFamily::kQwen3) {
    json["attention_bias"] = model.qkv_bias;
    said.qkv_bias = said.attention_output_bias = model.qkv_bias;
  }
  const bool windows = model.family != ModelFamily::kLlama || model.sliding_window == 0;
  return static_cast<const ModelTraits&>(model) == said && windows && all_windowed &&
         model.moe == MoeSpec{} && model.embedding_size == 0;
}

}  // namespace

Json to_json(const ModelSpec& model) {
  if (is_feed_forward(model)) return feed_forward_json(model);
  const Family& family = family_of(model.family);
  Json json;
  json["_name_or_path"] = model.name;
  json["architectures"] = Json::array({family.architecture});
  json["model_type"] = family.name;
  json["hidden_size"] = model.hidden_size;
  json["intermediate_size"] = model.intermediate_size;
  json["num_hidden_layers"] = model.num_hidden_layers;
  json["num_attention_heads"] = model.num_attention_heads;
  json["num_key_value_heads"] = model.num_key_value_heads;
  json["head_dim"] = model.head_dim;
  json["vocab_size"] = model.vocab_size;
  if (model.max_position_embeddings > 0)
    json["max_position_embeddings"] = model.max_position_embeddings;
  json["hidden_act"] = model.activation;
  json["rms_norm_eps"] = model.rms_norm_eps;
  if (model.attention_dropout != 0) json["attention_dropout"] = model.attention_dropout;
  if (model.positions == Positions::kRotary) {
    // The spelling of transformers 4, which 5 reads too.
    json["rope_theta"] = model.rope.theta;
    json["rope_scaling"] = rope_scaling_json(model.rope);
    if (model.rope.rotated_part != family.rotated_part)
      json["partial_rotary_factor"] = model.rope.rotated_part;
  }
  json["tie_word_embeddings"] = model.tie_word_embeddings;
  json["initializer_range"] = model.initializer_range;
  if (!write_family_keys(model, json)) json[kTraitsKey] = traits_json(model);
  return json;
}

}  // namespace meshplan::planner
