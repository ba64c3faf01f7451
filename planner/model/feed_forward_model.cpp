#include "planner/model/feed_forward_model.h"

#include <array>
#include <cmath>

#include "common/error.h"

namespace meshplan::planner {
namespace {

constexpr std::int64_t kMaxSize = std::int64_t{1} << 31;
constexpr std::array kUnitNames = {"w1", "w3", "w2"};

}  // namespace

bool is_feed_forward(const ModelSpec& model) { return model.family == ModelFamily::kFeedForward; }

bool is_feed_forward_config(const common::JsonObject& config) {
  return !config.is_null("model_type") && config.text("model_type") == kFeedForwardType;
}

ModelSpec read_feed_forward_config(const common::JsonObject& config) {
  if (const std::string act = config.text_or("hidden_act", "silu"); act != "silu") {
    throw common::Error(common::ErrorCode::kInvalidInput,
                        "'" + act + "' is not supported; it must be silu",
                        config.where() + ".hidden_act");
  }
  ModelSpec model;
  model.name = config.text_or("_name_or_path", "");
  model.family = ModelFamily::kFeedForward;
  model.hidden_size = config.integer("hidden_size", 1, kMaxSize);
  model.intermediate_size = config.integer("intermediate_size", 1, kMaxSize);
  model.num_hidden_layers = 1;
  const double as_linear = 1 / std::sqrt(3.0 * static_cast<double>(model.hidden_size));
  model.initializer_range = config.number_or("initializer_range", as_linear, 0.0);
  return model;
}

common::Json feed_forward_json(const ModelSpec& model) {
  return {{"_name_or_path", model.name},
          {"model_type", kFeedForwardType},
          {"hidden_size", model.hidden_size},
          {"intermediate_size", model.intermediate_size},
          {"hidden_act", "silu"},
          {"initializer_range", model.initializer_range}};
}

std::vector<Parameter> feed_forward_parameters(const ModelSpec& model, const Unit& unit) {
  const std::int64_t hidden = model.hidden_size;
  const std::int64_t intermediate = model.intermediate_size;
  switch (unit.kind) {
    case UnitKind::kBlock:
      return {{"w3.weight", ParameterRole::kUpWeight, {intermediate, hidden}, TpSplit::kColumn}};
    case UnitKind::kHead:
      return {{"w2.weight", ParameterRole::kDownWeight, {hidden, intermediate}, TpSplit::kRow}};
    case UnitKind::kEmbedding:
    case UnitKind::kTied:
      break;
  }
  return {{"w1.weight", ParameterRole::kGateWeight, {intermediate, hidden}, TpSplit::kColumn}};
}

const char* feed_forward_unit_name(std::int64_t unit) {
  return kUnitNames.at(static_cast<std::size_t>(unit));
}

}  // namespace meshplan::planner
