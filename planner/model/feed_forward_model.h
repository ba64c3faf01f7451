#pragma once

#include <vector>

#include "planner/model/parameter_table.h"

/// The feed-forward demo: w2(silu(w1 x) * w3 x) over rows x of random numbers, trained on the sum
/// of its outputs. It is the FeedForward of Lightning's tutorial on 2D parallelism
/// (docs/source-pytorch/advanced/model_parallel/tp_fsdp.rst): three linear layers without bias,
/// each a unit of its own. A token of such a model is one row.
///
/// The units of gate (w1), up (w3) and down (w2) stand in the places of embedding, block and head.
namespace meshplan::planner {

/// The model_type of its config.json, which has hidden_size, intermediate_size and, if it likes,
/// initializer_range.
inline constexpr const char* kFeedForwardType = "meshplan_feed_forward";

inline constexpr std::int64_t kGateUnit = 0;
inline constexpr std::int64_t kUpUnit = 1;
inline constexpr std::int64_t kDownUnit = 2;

bool is_feed_forward(const ModelSpec& model);

/// Whether a config.json is of this type.
bool is_feed_forward_config(const common::JsonObject& config);

/// Throws as read_model_config. Without initializer_range, weights are as wide as torch.nn.Linear
/// makes w1: uniform within 1 / sqrt(hidden_size), whose deviation is 1 / sqrt(3 hidden_size).
ModelSpec read_feed_forward_config(const common::JsonObject& config);

common::Json feed_forward_json(const ModelSpec& model);

/// The unit's one weight: w1 and w3 are split by columns, w2 by rows.
std::vector<Parameter> feed_forward_parameters(const ModelSpec& model, const Unit& unit);

/// "w1", "w3" or "w2".
const char* feed_forward_unit_name(std::int64_t unit);

}  // namespace meshplan::planner
