#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <utility>

#include "planner/model/config_sections.h"

namespace meshplan::planner {
namespace {

using common::Json;
using common::JsonObject;

using Traits = ModelTraits;

constexpr std::array kFlags = {
    std::pair{"norm_weight", &Traits::norm_weight},
    std::pair{"norm_bias", &Traits::norm_bias},
    std::pair{"final_norm", &Traits::final_norm},
    std::pair{"embedding_norm", &Traits::embedding_norm},
    std::pair{"gated_feed_forward", &Traits::gated_feed_forward},
    std::pair{"feed_forward_bias", &Traits::feed_forward_bias},
    std::pair{"qkv_bias", &Traits::qkv_bias},
    std::pair{"attention_output_bias", &Traits::attention_output_bias},
    std::pair{"output_head_bias", &Traits::output_head_bias},
    std::pair{"qk_norm", &Traits::qk_norm},
    std::pair{"parallel_residual", &Traits::parallel_residual},
    std::pair{"shared_norm", &Traits::shared_norm},
    std::pair{"shared_expert_gate", &Traits::shared_expert_gate},
};

constexpr std::array kNorms = {"rms", "layer"};
constexpr std::array kPlacements = {"before", "after", "both"};
constexpr std::array kPositions = {"rotary", "learned", "alibi"};
constexpr std::array kShapes = {"shared_head", "each_head", "all_heads"};

/// One trait that is a choice: its names are in the order of the enumeration.
template <class Choice, std::size_t n>
void read_choice(const ConfigFields& traits, const char* key,
                 const std::array<const char*, n>& names, Choice& choice) {
  if (traits.is_null(key)) return;
  const std::string name = traits.text(key, "");
  const auto found = std::ranges::find(names, name);
  if (found != names.end()) {
    choice = static_cast<Choice>(found - names.begin());
  } else if (traits.object().at(key).is_string()) {
    traits.complain(key, fmt::format("'{}' is unknown; use {}", name, fmt::join(names, ", ")));
  }
}

template <class Choice, std::size_t n>
void write_choice(Json& json, const char* key, const std::array<const char*, n>& names,
                  Choice choice) {
  if (choice != Choice{}) json[key] = names[static_cast<std::size_t>(choice)];
}

void read_experts(const ConfigFields& experts, ModelSpec& model) {
  MoeSpec& moe = model.moe;
  moe.num_experts = experts.size("num_experts", std::nullopt, kMaxExperts);
  moe.experts_per_token = experts.size("experts_per_token", std::nullopt, kMaxExperts);
  moe.intermediate_size = experts.size("intermediate_size");
  moe.shared_intermediate_size =
      experts.count("shared_intermediate_size", 0, kMaxSize * kMaxExperts);
  moe.first_dense_blocks = experts.count("first_dense_blocks", 0, kMaxLayers);
  moe.sparse_step = experts.size("sparse_step", 1, kMaxLayers);
  moe.dense_blocks.clear();
  if (!experts.is_null("dense_blocks")) {
    const Json& blocks = experts.object().at("dense_blocks");
    const auto valid = [&model](const Json& block) {
      return block.is_number_integer() && block >= 0 && block < model.num_hidden_layers;
    };
    if (!blocks.is_array() || !std::ranges::all_of(blocks, valid) ||
        !std::ranges::is_sorted(blocks)) {
      experts.complain("dense_blocks", fmt::format("must be an ascending array of blocks from 0 "
                                                   "to {}",
                                                   model.num_hidden_layers - 1));
    } else {
      moe.dense_blocks = blocks.get<std::vector<std::int64_t>>();
    }
  }
  experts.complaints().of([&] { experts.object().reject_unknown_keys(); });
}

Json experts_json(const MoeSpec& moe) {
  return {{"num_experts", moe.num_experts},
          {"experts_per_token", moe.experts_per_token},
          {"intermediate_size", moe.intermediate_size},
          {"shared_intermediate_size", moe.shared_intermediate_size},
          {"first_dense_blocks", moe.first_dense_blocks},
          {"sparse_step", moe.sparse_step},
          {"dense_blocks", moe.dense_blocks}};
}

void read_traits_object(const ConfigFields& traits, ModelSpec& model) {
  static_cast<ModelTraits&>(model) = {};
  for (const auto& [key, flag] : kFlags) model.*flag = traits.flag(key, model.*flag);
  read_choice(traits, "norm", kNorms, model.norm);
  read_choice(traits, "norm_placement", kPlacements, model.norm_placement);
  read_choice(traits, "positions", kPositions, model.positions);
  read_choice(traits, "qk_norm_shape", kShapes, model.qk_norm_shape);
  model.embedding_size = traits.count("embedding_size", 0);
  model.sliding_window = traits.count("sliding_window", 0);
  model.windowed_blocks =
      traits.count("windowed_blocks", model.sliding_window > 0 ? model.num_hidden_layers : 0,
                   model.num_hidden_layers);
  model.moe = {};
  if (!traits.is_null("experts")) {
    traits.complaints().of([&] {
      const JsonObject experts = traits.object().object("experts");
      read_experts(ConfigFields(experts, traits.complaints()), model);
    });
  }
  traits.complaints().of([&] { traits.object().reject_unknown_keys(); });
}

}  // namespace

void read_traits(const ConfigFields& fields, ModelSpec& model) {
  fields.complaints().of([&] {
    const JsonObject object = fields.object().object(kTraitsKey);
    read_traits_object(ConfigFields(object, fields.complaints()), model);
  });
}

Json traits_json(const ModelSpec& model) {
  const ModelTraits llama;
  Json json = Json::object();
  write_choice(json, "norm", kNorms, model.norm);
  write_choice(json, "norm_placement", kPlacements, model.norm_placement);
  write_choice(json, "positions", kPositions, model.positions);
  write_choice(json, "qk_norm_shape", kShapes, model.qk_norm_shape);
  for (const auto& [key, flag] : kFlags) {
    if (model.*flag != llama.*flag) json[key] = model.*flag;
  }
  if (model.embedding_size > 0) json["embedding_size"] = model.embedding_size;
  if (model.sliding_window > 0) {
    json["sliding_window"] = model.sliding_window;
    json["windowed_blocks"] = model.windowed_blocks;
  }
  if (model.moe.num_experts > 0) json["experts"] = experts_json(model.moe);
  return json;
}

}  // namespace meshplan::planner
