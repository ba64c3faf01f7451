#pragma once

#include "planner/model/config_fields.h"
#include "planner/model/family.h"
#include "planner/model/model_spec.h"

namespace meshplan::planner {

// Parts of a config.json, each read into the spec once the sizes are there.

/// Rotary positions in the spelling of transformers 4 ("rope_theta", "rope_scaling") or 5
/// ("rope_parameters").
void read_rope(const ConfigFields& fields, const Family& family, ModelSpec& model);

/// sliding_window and windowed_blocks, by the family's rule.
void read_window(const ConfigFields& fields, const Family& family, ModelSpec& model);

/// The mixture of experts, of a family that has one.
void read_moe(const ConfigFields& fields, const Family& family, ModelSpec& model);

/// Complains about a mixture that cannot be.
void check_moe(const ConfigFields& fields, const ModelSpec& model);

/// The key of our own under which a config may say all traits itself, from those of Llama.
inline constexpr const char* kTraitsKey = "meshplan";

/// Traits, windows, experts and the embedding's width from the object of that key.
void read_traits(const ConfigFields& fields, ModelSpec& model);
/// That object: what differs from Llama.
common::Json traits_json(const ModelSpec& model);

}  // namespace meshplan::planner
