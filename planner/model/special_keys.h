#pragma once

#include "planner/model/config_fields.h"
#include "planner/model/model_spec.h"

namespace meshplan::planner {

// What single families say in a way of their own. Each runs after the sizes, flags and rotary
// positions have been read.

/// gptj, codegen: rotary_dim of each head's dimensions are rotated.
void read_gptj_rotation(const ConfigFields& fields, ModelSpec& model);
/// gpt_bigcode: multi_query is one key-value head.
void read_multi_query(const ConfigFields& fields, ModelSpec& model);
/// falcon: multi_query or new_decoder_architecture; bias; parallel_attn and its norms; alibi.
void read_falcon(const ConfigFields& fields, ModelSpec& model);
/// mpt: expansion_ratio and attn_config may ask for what transformers does not have.
void read_mpt(const ConfigFields& fields, ModelSpec& model);
/// baichuan: the 13B ones say model_max_length and no max_position_embeddings, and have alibi.
void read_baichuan(const ConfigFields& fields, ModelSpec& model);
/// chatglm: kv_channels, multi_query_attention and its groups, add_bias_linear.
void read_chatglm(const ConfigFields& fields, ModelSpec& model);
/// internlm3: qkv_bias and bias, as its own code has them, or as transformers writes them.
void read_internlm3(const ConfigFields& fields, ModelSpec& model);
/// qwen: intermediate_size counts gate and up together; kv_channels, no_bias.
void read_qwen(const ConfigFields& fields, ModelSpec& model);
/// dbrx: attn_config and ffn_config.
void read_dbrx(const ConfigFields& fields, ModelSpec& model);
/// opt: the norms' place and the embedding's projection.
void read_opt(const ConfigFields& fields, ModelSpec& model);
/// gpt_neo: attention_types, "local" through window_size.
void read_gpt_neo_window(const ConfigFields& fields, ModelSpec& model);

}  // namespace meshplan::planner
