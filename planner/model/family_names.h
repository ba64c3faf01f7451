#pragma once

#include "planner/model/family.h"

namespace meshplan::planner {

inline constexpr ModuleNames kGptNames = {.embedding = "transformer.wte",
                                          .position_embedding = "transformer.wpe",
                                          .blocks = "transformer.h",
                                          .final_norm = "transformer.ln_f",
                                          .input_norm = "ln_1",
                                          .feed_forward_norm = "ln_2",
                                          .query_key_value = "attn.c_attn",
                                          .attention_output = "attn.c_proj",
                                          .up = "mlp.c_fc",
                                          .down = "mlp.c_proj",
                                          .inputs_first = true};
inline constexpr ModuleNames kGptBigcodeNames = [] {
  ModuleNames names = kGptNames;
  names.inputs_first = false;
  return names;
}();
inline constexpr ModuleNames kGptjNames = {.embedding = "transformer.wte",
                                           .blocks = "transformer.h",
                                           .final_norm = "transformer.ln_f",
                                           .input_norm = "ln_1",
                                           .query = "attn.q_proj",
                                           .key = "attn.k_proj",
                                           .value = "attn.v_proj",
                                           .attention_output = "attn.out_proj",
                                           .up = "mlp.fc_in",
                                           .down = "mlp.fc_out"};
inline constexpr ModuleNames kCodegenNames = [] {
  ModuleNames names = kGptjNames;
  names.query_key_value = "attn.qkv_proj";
  return names;
}();
inline constexpr ModuleNames kOpenaiGptNames = [] {
  ModuleNames names = kGptNames;
  names.embedding = "transformer.tokens_embed";
  names.position_embedding = "transformer.positions_embed";
  names.attention_output_norm = "ln_1";
  names.feed_forward_output_norm = "ln_2";
  return names;
}();
inline constexpr ModuleNames kGptNeoNames = {.embedding = "transformer.wte",
                                             .position_embedding = "transformer.wpe",
                                             .blocks = "transformer.h",
                                             .final_norm = "transformer.ln_f",
                                             .input_norm = "ln_1",
                                             .feed_forward_norm = "ln_2",
                                             .query = "attn.attention.q_proj",
                                             .key = "attn.attention.k_proj",
                                             .value = "attn.attention.v_proj",
                                             .attention_output = "attn.attention.out_proj",
                                             .up = "mlp.c_fc",
                                             .down = "mlp.c_proj"};
inline constexpr ModuleNames kBloomNames = {
    .embedding = "transformer.word_embeddings",
    .embedding_norm = "transformer.word_embeddings_layernorm",
    .blocks = "transformer.h",
    .final_norm = "transformer.ln_f",
    .parallel_attention_norm = "ln_attn",
    .parallel_feed_forward_norm = "ln_mlp",
    .query_key_value = "self_attention.query_key_value",
    .attention_output = "self_attention.dense",
    .up = "mlp.dense_h_to_4h",
    .down = "mlp.dense_4h_to_h"};
inline constexpr ModuleNames kGptNeoxNames = {.embedding = "gpt_neox.embed_in",
                                              .blocks = "gpt_neox.layers",
                                              .final_norm = "gpt_neox.final_layer_norm",
                                              .output_head = "embed_out",
                                              .query_key_value = "attention.query_key_value",
                                              .attention_output = "attention.dense",
                                              .up = "mlp.dense_h_to_4h",
                                              .down = "mlp.dense_4h_to_h"};
inline constexpr ModuleNames kMptNames = {.embedding = "transformer.wte",
                                          .blocks = "transformer.blocks",
                                          .final_norm = "transformer.norm_f",
                                          .input_norm = "norm_1",
                                          .feed_forward_norm = "norm_2",
                                          .query_key_value = "attn.Wqkv",
                                          .attention_output = "attn.out_proj",
                                          .up = "ffn.up_proj",
                                          .down = "ffn.down_proj"};
inline constexpr ModuleNames kDbrxNames = {.embedding = "transformer.wte",
                                           .blocks = "transformer.blocks",
                                           .final_norm = "transformer.norm_f",
                                           .input_norm = "norm_attn_norm.norm_1",
                                           .feed_forward_norm = "norm_attn_norm.norm_2",
                                           .query_key_value = "norm_attn_norm.attn.Wqkv",
                                           .attention_output = "norm_attn_norm.attn.out_proj",
                                           .router = "ffn.router.layer",
                                           .experts = "ffn.experts.mlp",
                                           .expert_gate = "w1",
                                           .expert_up = "v1",
                                           .expert_down = "w2",
                                           .experts_in_one = true};
inline constexpr ModuleNames kOptNames = {.embedding = "model.decoder.embed_tokens",
                                          .position_embedding = "model.decoder.embed_positions",
                                          .embedding_projection = "model.decoder.project_in",
                                          .head_projection = "model.decoder.project_out",
                                          .blocks = "model.decoder.layers",
                                          .final_norm = "model.decoder.final_layer_norm",
                                          .input_norm = "self_attn_layer_norm",
                                          .feed_forward_norm = "final_layer_norm",
                                          .attention_output_norm = "self_attn_layer_norm",
                                          .feed_forward_output_norm = "final_layer_norm",
                                          .attention_output = "self_attn.out_proj",
                                          .up = "fc1",
                                          .down = "fc2"};
inline constexpr ModuleNames kPhiNames = {.final_norm = "model.final_layernorm",
                                          .attention_output = "self_attn.dense",
                                          .query_norm = "self_attn.q_layernorm",
                                          .key_norm = "self_attn.k_layernorm",
                                          .up = "mlp.fc1",
                                          .down = "mlp.fc2"};
inline constexpr ModuleNames kPersimmonNames = {.final_norm = "model.final_layernorm",
                                                .query_key_value = "self_attn.query_key_value",
                                                .attention_output = "self_attn.dense",
                                                .query_norm = "self_attn.q_layernorm",
                                                .key_norm = "self_attn.k_layernorm",
                                                .up = "mlp.dense_h_to_4h",
                                                .down = "mlp.dense_4h_to_h"};
inline constexpr ModuleNames kStablelmNames = {.query_norm = "self_attn.q_layernorm.norms",
                                               .key_norm = "self_attn.k_layernorm.norms",
                                               .numbered_head_norms = true};
inline constexpr ModuleNames kPlainNames = {.up = "mlp.up_proj", .down = "mlp.down_proj"};
inline constexpr ModuleNames kStarcoder2Names = {.up = "mlp.c_fc", .down = "mlp.c_proj"};
inline constexpr ModuleNames kPhi3Names = {.query_key_value = "self_attn.qkv_proj",
                                           .gate_up = "mlp.gate_up_proj"};
inline constexpr ModuleNames kGlmNames = {.gate_up = "mlp.gate_up_proj"};
inline constexpr ModuleNames kGlm4Names = {.attention_output_norm = "post_self_attn_layernorm",
                                           .feed_forward_output_norm = "post_mlp_layernorm",
                                           .gate_up = "mlp.gate_up_proj"};
inline constexpr ModuleNames kGemma2Names = {.feed_forward_norm = "pre_feedforward_layernorm"};
inline constexpr ModuleNames kMixtralNames = {.router = "block_sparse_moe.gate",
                                              .experts = "block_sparse_moe.experts",
                                              .expert_gate = "w1",
                                              .expert_up = "w3",
                                              .expert_down = "w2"};
inline constexpr ModuleNames kSharedExpertsNames = {.shared_expert = "mlp.shared_experts"};
inline constexpr ModuleNames kHunyuanNames = {.query_norm = "self_attn.query_layernorm",
                                              .key_norm = "self_attn.key_layernorm"};
inline constexpr ModuleNames kBaichuanNames = {.query_key_value = "self_attn.W_pack"};
inline constexpr ModuleNames kInternlm2Names = {.embedding = "model.tok_embeddings",
                                                .output_head = "output",
                                                .input_norm = "attention_norm",
                                                .feed_forward_norm = "ffn_norm",
                                                .query_key_value = "attention.wqkv",
                                                .attention_output = "attention.wo",
                                                .gate = "feed_forward.w1",
                                                .up = "feed_forward.w3",
                                                .down = "feed_forward.w2"};
inline constexpr ModuleNames kQwenNames = [] {
  ModuleNames names = kGptNames;
  names.inputs_first = false;
  names.gate = "mlp.w2";
  names.up = "mlp.w1";
  return names;
}();
inline constexpr ModuleNames kExaoneNames = [] {
  ModuleNames names = kGptNeoNames;
  names.gate = "mlp.c_fc_0";
  names.up = "mlp.c_fc_1";
  return names;
}();
inline constexpr ModuleNames kChatglmNames = {.embedding = "transformer.embedding.word_embeddings",
                                              .blocks = "transformer.encoder.layers",
                                              .final_norm = "transformer.encoder.final_layernorm",
                                              .output_head = "transformer.output_layer",
                                              .query_key_value = "self_attention.query_key_value",
                                              .attention_output = "self_attention.dense",
                                              .gate_up = "mlp.dense_h_to_4h",
                                              .down = "mlp.dense_4h_to_h"};

}  // namespace meshplan::planner
