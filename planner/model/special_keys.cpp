#include "planner/model/special_keys.h"

#include <fmt/format.h>

namespace meshplan::planner {
namespace {

using common::Json;
using common::JsonObject;

/// Runs `read` on the object of that key, where there is one.
template <class Read>
void with_object(const ConfigFields& fields, const char* key, const Read& read) {
  if (fields.is_null(key)) return;
  fields.complaints().of([&] {
    const JsonObject object = fields.object().object(key);
    read(ConfigFields(object, fields.complaints()));
  });
}

/// Blocks whose attention is "local", of [[["global", "local"], 12], ...]: names, and how often
/// they repeat. Adds up the blocks named in `blocks`.
std::int64_t local_blocks(const ConfigFields& fields, const Json& types, std::int64_t& blocks) {
  const auto wrong = [&] {
    fields.complain("attention_types",
                    R"(must be an array of [["global" or "local", ...], repetitions from 1 to )" +
                        std::to_string(kMaxLayers) + "]");
    return 0;
  };
  std::int64_t local = 0;
  blocks = 0;
  if (!types.is_array() || types.size() > 1000) return wrong();
  for (const Json& item : types) {
    if (!item.is_array() || item.size() != 2 || !item[0].is_array() || item[0].size() > 1000 ||
        !item[1].is_number_integer() || item[1].get<std::int64_t>() < 1 ||
        item[1].get<std::int64_t>() > kMaxLayers) {
      return wrong();
    }
    for (const Json& name : item[0]) {
      if (name != "global" && name != "local") return wrong();
      blocks += item[1].get<std::int64_t>();
      if (name == "local") local += item[1].get<std::int64_t>();
    }
  }
  return local;
}

}  // namespace

void read_gptj_rotation(const ConfigFields& fields, ModelSpec& model) {
  const std::int64_t rotated = fields.size("rotary_dim", 64);
  if (model.head_dim == 0 || rotated == 0) return;
  if (rotated > model.head_dim || rotated % 2 != 0) {
    fields.complain("rotary_dim", fmt::format("{} must be even and at most the {} of a head",
                                              rotated, model.head_dim));
    return;
  }
  model.rope.rotated_part = static_cast<double>(rotated) / static_cast<double>(model.head_dim);
}

void read_multi_query(const ConfigFields& fields, ModelSpec& model) {
  model.num_key_value_heads = fields.flag("multi_query", true) ? 1 : model.num_attention_heads;
}

void read_falcon(const ConfigFields& fields, ModelSpec& model) {
  const bool new_decoder = fields.flag("new_decoder_architecture", false);
  if (!new_decoder) read_multi_query(fields, model);
  const bool bias = fields.flag("bias", false);
  model.qkv_bias = model.attention_output_bias = model.feed_forward_bias = bias;
  model.parallel_residual = fields.flag("parallel_attn", true);
  if (new_decoder && !model.parallel_residual) {
    fields.complain("parallel_attn",
                    "false beside new_decoder_architecture=true, which is always parallel; use "
                    "true, or new_decoder_architecture=false");
  }
  const std::int64_t norms = fields.size("num_ln_in_parallel_attn", new_decoder ? 2 : 1, 2);
  model.shared_norm = model.parallel_residual && norms == 1;
  if (fields.flag("alibi", false)) model.positions = Positions::kAlibi;
}

void read_mpt(const ConfigFields& fields, ModelSpec& model) {
  if (const double ratio = fields.number("expansion_ratio", 4, 1, 1024); ratio != 4 && ratio != 0) {
    fields.complain(
        "expansion_ratio",
        fmt::format("{} is not read, as transformers has mpt with 4 only; use 4", ratio));
  }
  model.intermediate_size = 4 * model.hidden_size;
  with_object(fields, "attn_config", [](const ConfigFields& attention) {
    if (!attention.flag("alibi", true)) {
      attention.complain("alibi",
                         "false is not read, as transformers has mpt with alibi only; use true");
    }
  });
}

void read_baichuan(const ConfigFields& fields, ModelSpec& model) {
  if (fields.is_null("max_position_embeddings") && !fields.is_null("model_max_length")) {
    model.positions = Positions::kAlibi;
    model.max_position_embeddings = fields.size("model_max_length");
  }
}

void read_chatglm(const ConfigFields& fields, ModelSpec& model) {
  if (!fields.flag("rmsnorm", true)) {
    model.norm = NormKind::kLayer;
    model.norm_bias = true;
  }
  model.final_norm = fields.flag("post_layer_norm", true);
  model.head_dim = fields.size("kv_channels", model.head_dim);
  model.num_key_value_heads = fields.flag("multi_query_attention", false)
                                  ? fields.size("multi_query_group_num", 1)
                                  : model.num_attention_heads;
  const bool bias = fields.flag("add_bias_linear", false);
  model.qkv_bias = bias || fields.flag("add_qkv_bias", false);
  model.attention_output_bias = model.feed_forward_bias = bias;
}

void read_internlm3(const ConfigFields& fields, ModelSpec& model) {
  model.qkv_bias = fields.flag("qkv_bias", fields.flag("attention_bias", false));
  model.attention_output_bias = model.feed_forward_bias =
      fields.flag("bias", fields.flag("mlp_bias", false));
}

void read_qwen(const ConfigFields& fields, ModelSpec& model) {
  if (model.intermediate_size % 2 != 0) {
    fields.complain("intermediate_size",
                    fmt::format("{} must be even: it counts gate and up", model.intermediate_size));
  }
  model.intermediate_size /= 2;
  model.head_dim = fields.size("kv_channels", model.head_dim);
  model.attention_output_bias = model.feed_forward_bias = !fields.flag("no_bias", true);
}

void read_dbrx(const ConfigFields& fields, ModelSpec& model) {
  model.num_key_value_heads = 1;
  with_object(fields, "attn_config", [&model](const ConfigFields& attention) {
    model.num_key_value_heads = attention.size("kv_n_heads", 1);
    model.rope.theta = attention.number("rope_theta", model.rope.theta, 1, 1e15);
  });
  model.moe = {.num_experts = 4, .experts_per_token = 1, .intermediate_size = 3584};
  with_object(fields, "ffn_config", [&model](const ConfigFields& feed_forward) {
    model.moe.num_experts = feed_forward.size("moe_num_experts", 4, kMaxExperts);
    model.moe.experts_per_token = feed_forward.size("moe_top_k", 1, kMaxExperts);
    model.moe.intermediate_size = feed_forward.size("ffn_hidden_size", 3584);
  });
  model.intermediate_size = model.moe.intermediate_size;
}

void read_opt(const ConfigFields& fields, ModelSpec& model) {
  if (!fields.flag("do_layer_norm_before", true)) model.norm_placement = NormPlacement::kAfter;
  model.final_norm = model.norm_placement == NormPlacement::kBefore &&
                     !fields.flag("_remove_final_layer_norm", false);
  const std::int64_t width = fields.size("word_embed_proj_dim", model.hidden_size);
  model.embedding_size = width == model.hidden_size ? 0 : width;
}

void read_gpt_neo_window(const ConfigFields& fields, ModelSpec& model) {
  std::int64_t blocks = model.num_hidden_layers;
  std::int64_t local = blocks / 2;
  if (!fields.is_null("attention_types")) {
    local = local_blocks(fields, fields.object().at("attention_types"), blocks);
  }
  if (blocks != model.num_hidden_layers && blocks > 0 && model.num_hidden_layers > 0) {
    fields.complain("attention_types", fmt::format("names {} blocks; it must be num_layers={}",
                                                   blocks, model.num_hidden_layers));
  }
  model.windowed_blocks = local;
  model.sliding_window = local > 0 ? fields.size("window_size", 256) : 0;
}

}  // namespace meshplan::planner
