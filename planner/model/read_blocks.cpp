// Which blocks of a model attend through a window, and which have experts.

#include <fmt/format.h>

#include <algorithm>

#include "planner/model/config_sections.h"

namespace meshplan::planner {
namespace {

using common::Json;

constexpr std::int64_t kDefaultMaxWindowLayers = 28;

/// Blocks that layer_types calls "sliding_attention".
std::int64_t windowed_by_type(const ConfigFields& fields, std::int64_t layers) {
  const Json& types = fields.object().at("layer_types");
  if (!types.is_array() || std::cmp_not_equal(types.size(), layers)) {
    fields.complain("layer_types",
                    fmt::format("must be an array of num_hidden_layers={} names", layers));
    return 0;
  }
  std::int64_t windowed = 0;
  for (const Json& type : types) {
    if (type == "sliding_attention") {
      ++windowed;
    } else if (type != "full_attention") {
      fields.complain("layer_types",
                      "each must be \"full_attention\" or \"sliding_attention\", one is " +
                          type.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 60));
      return 0;
    }
  }
  return windowed;
}

/// Every how many blocks one attends to all: a number, or the length of a pattern such as "LLLG".
std::int64_t read_pattern(const ConfigFields& fields, std::int64_t fallback) {
  const char* key = fields.is_null("sliding_window_pattern") ? "_sliding_window_pattern"
                                                             : "sliding_window_pattern";
  if (fields.is_null(key)) return fallback;
  if (!fields.object().at(key).is_string()) return fields.size(key, fallback, kMaxLayers);
  const auto length = static_cast<std::int64_t>(fields.text(key, "").size());
  if (length == 0 || length > kMaxLayers) {
    fields.complain(key, fmt::format("has {} letters; use from 1 to {}", length, kMaxLayers));
    return fallback;
  }
  return length;
}

std::int64_t windowed_blocks(const ConfigFields& fields, const Family& family,
                             std::int64_t layers) {
  if (family.window.rule == WindowRule::kAll) return layers;
  if (!fields.is_null("layer_types")) return windowed_by_type(fields, layers);
  if (family.window.rule == WindowRule::kSwitched) {
    return std::max<std::int64_t>(
        0, layers - fields.count("max_window_layers", kDefaultMaxWindowLayers));
  }
  if (family.window.rule == WindowRule::kTyped) return layers;
  const std::int64_t pattern = read_pattern(fields, family.window.pattern);
  return pattern == 0 ? 0 : layers - layers / pattern;
}

std::vector<std::int64_t> read_dense_blocks(const ConfigFields& fields, std::int64_t layers) {
  std::vector<std::int64_t> blocks;
  if (fields.is_null("mlp_only_layers")) return blocks;
  const Json& list = fields.object().at("mlp_only_layers");
  const auto valid = [layers](const Json& block) {
    return block.is_number_integer() && block >= 0 && block < layers;
  };
  if (!list.is_array() || !std::ranges::all_of(list, valid)) {
    fields.complain("mlp_only_layers",
                    fmt::format("must be an array of blocks from 0 to {}", layers - 1));
    return blocks;
  }
  for (const Json& block : list) blocks.push_back(block.get<std::int64_t>());
  std::ranges::sort(blocks);
  blocks.erase(std::ranges::unique(blocks).begin(), blocks.end());
  return blocks;
}

std::int64_t read_experts(const ConfigFields& fields, const MoeKeys& keys) {
  for (const char* key : {keys.experts, "num_experts", "num_local_experts"}) {
    if (!fields.is_null(key)) return fields.count(key, 0, kMaxExperts);
  }
  return keys.default_experts;
}

}  // namespace

void read_window(const ConfigFields& fields, const Family& family, ModelSpec& model) {
  const WindowRule rule = family.window.rule;
  if (rule == WindowRule::kNone || model.num_hidden_layers == 0) return;
  if (rule == WindowRule::kSwitched && !fields.flag("use_sliding_window", false)) return;
  const bool off = fields.has("sliding_window") && fields.is_null("sliding_window");
  const std::int64_t blocks = off ? 0 : windowed_blocks(fields, family, model.num_hidden_layers);
  if (blocks == 0) return;
  if (fields.has("sliding_window")) {
    model.sliding_window = fields.size("sliding_window");
  } else {
    model.sliding_window = family.window.tokens;
  }
  model.windowed_blocks = model.sliding_window > 0 ? blocks : 0;
}

void read_moe(const ConfigFields& fields, const Family& family, ModelSpec& model) {
  const MoeKeys& keys = family.moe;
  if (keys.experts == nullptr) return;
  MoeSpec moe;
  moe.num_experts = read_experts(fields, keys);
  moe.experts_per_token = fields.size(
      "num_experts_per_tok", std::max<std::int64_t>(1, keys.default_per_token), kMaxExperts);
  moe.intermediate_size = model.intermediate_size;
  if (keys.expert_size != nullptr) {
    moe.intermediate_size = fields.size(keys.expert_size, keys.default_expert_size);
  }
  if (keys.shared_size != nullptr) {
    moe.shared_intermediate_size = fields.count(keys.shared_size, keys.default_shared_size);
  }
  if (keys.shared_experts != nullptr) {
    moe.shared_intermediate_size =
        moe.intermediate_size *
        fields.count(keys.shared_experts, keys.default_shared_experts, kMaxExperts);
  }
  if (keys.first_dense != nullptr) {
    moe.first_dense_blocks = fields.count(keys.first_dense, keys.default_first_dense, kMaxLayers);
  }
  if (keys.sparse_step) {
    moe.sparse_step = fields.size("decoder_sparse_step", 1, kMaxLayers);
    moe.dense_blocks = read_dense_blocks(fields, model.num_hidden_layers);
  }
  if (moe.num_experts > 0) model.moe = std::move(moe);
}

void check_moe(const ConfigFields& fields, const ModelSpec& model) {
  const MoeSpec& moe = model.moe;
  if (moe.num_experts > 0 && moe.experts_per_token > moe.num_experts) {
    fields.complain("num_experts_per_tok",
                    fmt::format("{} must be at most the number of experts, {}",
                                moe.experts_per_token, moe.num_experts));
  }
}

bool is_moe_block(const ModelSpec& model, std::int64_t block) {
  const MoeSpec& moe = model.moe;
  return moe.num_experts > 0 && block >= moe.first_dense_blocks &&
         (block + 1) % moe.sparse_step == 0 && !std::ranges::binary_search(moe.dense_blocks, block);
}

std::int64_t moe_block_count(const ModelSpec& model) {
  std::int64_t count = 0;
  if (model.moe.num_experts == 0) return count;
  for (std::int64_t block = 0; block < model.num_hidden_layers; ++block) {
    if (is_moe_block(model, block)) ++count;
  }
  return count;
}

std::int64_t first_other_block(const ModelSpec& model) {
  if (model.moe.num_experts == 0) return 0;
  for (std::int64_t block = 1; block < model.num_hidden_layers; ++block) {
    if (is_moe_block(model, block) != is_moe_block(model, 0)) return block;
  }
  return 0;
}

}  // namespace meshplan::planner
