#include "planner/model/coverage.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "common/error.h"
#include "planner/model/feed_forward_model.h"

namespace meshplan::planner {
namespace {

constexpr std::array kTrained = {ModelFamily::kLlama, ModelFamily::kMistral, ModelFamily::kQwen2,
                                 ModelFamily::kQwen3};

/// A feature that Llama does not have, by name.
struct Feature {
  bool present;
  const char* name;
};

std::vector<std::string> names_of(std::initializer_list<Feature> features) {
  std::vector<std::string> names;
  for (const Feature& feature : features) {
    if (feature.present) names.emplace_back(feature.name);
  }
  return names;
}

/// What the program has, and the executor has no layers for.
std::vector<std::string> beyond_layers(const ModelSpec& model) {
  return names_of({
      {model.norm != NormKind::kRms || !model.norm_weight || model.norm_bias, "layer norms"},
      {model.positions != Positions::kRotary, "positions other than rotary"},
      {!model.gated_feed_forward, "a feed-forward without gate"},
      {model.feed_forward_bias, "a bias in the feed-forward"},
      {model.output_head_bias, "a bias of the output head"},
      {model.norm_placement != NormPlacement::kBefore, "norms after attention and feed-forward"},
      {!model.final_norm, "no final norm"},
      {model.embedding_norm, "a norm of the embedding"},
      {model.embedding_size > 0, "a projected embedding"},
      {model.qk_norm && model.qk_norm_shape != QkNormShape::kSharedHead,
       "norms of queries and keys that heads do not share"},
      {model.parallel_residual, "attention and feed-forward in parallel"},
      {model.moe.num_experts > 0, "experts"},
  });
}

}  // namespace

std::vector<std::string> beyond_program(const ModelSpec& model) {
  return names_of({
      {model.parallel_residual && model.norm_placement != NormPlacement::kBefore,
       "norms after attention and feed-forward that run in parallel"},
  });
}

void require_trainable(const ModelSpec& model) {
  if (is_feed_forward(model)) return;
  std::vector<std::string> lacking = beyond_layers(model);
  const bool family = std::ranges::count(kTrained, model.family) > 0;
  if (!family) lacking.emplace_back(fmt::format("family {}", to_string(model.family)));
  if (model.activation != "silu")
    lacking.emplace_back(fmt::format("activation '{}' (it has silu)", model.activation));
  if (model.attention_dropout != 0)
    lacking.emplace_back(fmt::format("attention_dropout={} (it has 0)", model.attention_dropout));
  if (model.rope.scaling == RopeScaling::kOther) {
    lacking.emplace_back(fmt::format("rope type '{}' (it has default, linear and llama3)",
                                     model.rope.other_scaling));
  }
  if (model.rope.rotated_part != 1) {
    lacking.emplace_back(
        fmt::format("partial_rotary_factor={} (it has 1)", model.rope.rotated_part));
  }
  if (lacking.empty()) return;
  std::vector<const char*> trained;
  for (const ModelFamily row : kTrained) trained.push_back(to_string(row));
  throw common::Error(
      common::ErrorCode::kInvalidInput,
      fmt::format("executor_trains_family: this model can be planned, but the executor has no "
                  "layers for: {}; it trains {}",
                  fmt::join(lacking, ", "), fmt::join(trained, ", ")),
      model.name.empty() ? "model" : "model " + model.name);
}

}  // namespace meshplan::planner
