#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "planner/model/config_sections.h"

namespace meshplan::planner {
namespace {

using common::Json;
using common::JsonObject;

constexpr double kMaxTheta = 1e15;
constexpr double kMaxFactor = 1e9;
constexpr std::array kOtherScalings = {"dynamic", "yarn", "longrope", "su", "mrope"};

/// The first of the keys that is set, or the first.
const char* first_set(const ConfigFields& fields, const char* a, const char* b) {
  return fields.is_null(a) && !fields.is_null(b) ? b : a;
}

/// The object that holds the rope type: "rope_scaling" of transformers 4 or "rope_parameters" of 5.
std::optional<JsonObject> rope_object(const ConfigFields& fields) {
  std::optional<JsonObject> found;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (fields.is_null(key)) continue;
    std::optional<JsonObject> parameters =
        fields.complaints().of([&] { return std::optional(fields.object().object(key)); });
    if (!parameters || parameters->json().empty()) continue;
    if (found) fields.complain(key, "is set beside rope_parameters; keep one of the two");
    found = std::move(parameters);
  }
  return found;
}

/// Where each kind of attention has a set of its own, that of the blocks without a window.
std::optional<JsonObject> one_set(const ConfigFields& fields, const JsonObject& parameters,
                                  const Family& family) {
  const bool by_layer_type =
      parameters.has("full_attention") || parameters.has("sliding_attention");
  if (!by_layer_type) return parameters;
  if (family.window.rule == WindowRule::kPattern) {
    return fields.complaints().of(
        [&] { return std::optional(parameters.object("full_attention")); });
  }
  const char* key = parameters.has("full_attention") ? "full_attention" : "sliding_attention";
  fields.complaints().add(parameters.where() + "." + key,
                          "rotary parameters by layer type are not read for this family; give one "
                          "set for all layers");
  return std::nullopt;
}

std::string read_type(const ConfigFields& rope) {
  const char* key = rope.is_null("rope_type") ? "type" : "rope_type";
  // Only rope_parameters may leave the type out, since there it also carries a plain rope_theta.
  if (rope.is_null(key) && rope.is_null("factor")) return "default";
  const std::string type = rope.complaints().of([&] { return rope.object().text(key); });
  const bool known = type == "default" || type == "linear" || type == "llama3" ||
                     std::ranges::count(kOtherScalings, type) > 0;
  if (!known && rope.object().json().contains(key) && rope.object().at(key).is_string()) {
    rope.complain(key, fmt::format("'{}' is unknown; use default, linear, llama3, dynamic, yarn, "
                                   "longrope, su or mrope",
                                   type));
  }
  return known ? type : "default";
}

void read_llama3(const ConfigFields& rope, const ConfigFields& config, ModelSpec& model) {
  RopeSpec& spec = model.rope;
  spec.low_freq_factor =
      rope.complaints().of([&] { return rope.object().number("low_freq_factor", 0, kMaxFactor); });
  spec.high_freq_factor =
      rope.complaints().of([&] { return rope.object().number("high_freq_factor", 0, kMaxFactor); });
  const bool both = rope.object().json().contains("low_freq_factor") &&
                    rope.object().json().contains("high_freq_factor");
  if (both && (spec.low_freq_factor <= 0 || spec.high_freq_factor <= spec.low_freq_factor)) {
    rope.complain("high_freq_factor",
                  fmt::format("{} must be above low_freq_factor={}, and both above 0",
                              spec.high_freq_factor, spec.low_freq_factor));
  }
  spec.original_max_position_embeddings =
      rope.size("original_max_position_embeddings",
                config.size("original_max_position_embeddings", model.max_position_embeddings));
}

void read_scaling(const ConfigFields& rope, const ConfigFields& config, ModelSpec& model) {
  RopeSpec& spec = model.rope;
  const std::string type = read_type(rope);
  if (type == "default") return;
  const bool needs_factor = type == "linear" || type == "llama3";
  if (needs_factor || !rope.is_null("factor")) {
    spec.factor =
        rope.complaints().of([&] { return rope.object().number("factor", 1, kMaxFactor); });
  }
  if (type == "linear") {
    spec.scaling = RopeScaling::kLinear;
  } else if (type == "llama3") {
    spec.scaling = RopeScaling::kLlama3;
    read_llama3(rope, config, model);
  } else {
    spec.scaling = RopeScaling::kOther;
    spec.other_scaling = type;
  }
}

}  // namespace

void read_rope(const ConfigFields& fields, const Family& family, ModelSpec& model) {
  RopeSpec& rope = model.rope;
  const auto read_plain = [&rope](const ConfigFields& object) {
    rope.theta =
        object.number(first_set(object, "rope_theta", "rotary_emb_base"), rope.theta, 1, kMaxTheta);
    rope.rotated_part = object.number(first_set(object, "partial_rotary_factor", "rotary_pct"),
                                      rope.rotated_part, 1e-3, 1);
  };
  rope.theta = family.rope_theta;
  rope.rotated_part = family.rotated_part;
  read_plain(fields);
  const std::optional<JsonObject> parameters = rope_object(fields);
  if (!parameters) return;
  const std::optional<JsonObject> set = one_set(fields, *parameters, family);
  if (!set) return;
  const ConfigFields of_rope(*set, fields.complaints());
  read_plain(of_rope);
  read_scaling(of_rope, fields, model);
}

}  // namespace meshplan::planner
