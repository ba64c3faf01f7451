// Architectures whose code lies beside their checkpoints, and not in transformers. Defaults are
// those of the configuration classes there; names are those of the checkpoints.

#include <array>

#include "planner/model/family.h"
#include "planner/model/family_names.h"
#include "planner/model/special_keys.h"

namespace meshplan::planner {
namespace {

using Traits = ModelTraits;

constexpr std::array kBiasFlag = {FlagKey{&Traits::qkv_bias, "bias", true},
                                  FlagKey{&Traits::attention_output_bias, "bias", true}};

const std::array kRows = {
    Family{.family = ModelFamily::kBaichuan,
           .name = "baichuan",
           .architecture = "BaichuanForCausalLM",
           .max_position_embeddings = 4096,
           .special = read_baichuan,
           .names = kBaichuanNames},
    Family{.family = ModelFamily::kChatglm,
           .name = "chatglm",
           .architecture = "ChatGLMModel",
           .keys = {.layers = "num_layers",
                    .intermediate = "ffn_hidden_size",
                    .vocabulary = "padded_vocab_size",
                    .positions = "seq_length",
                    .norm_epsilon = "layernorm_epsilon"},
           .norm_epsilon = 1e-5,
           .rotated_part = 0.5,
           .special = read_chatglm,
           .names = kChatglmNames},
    Family{.family = ModelFamily::kDeepseek,
           .name = "deepseek",
           .architecture = "DeepseekForCausalLM",
           .flags = kAttentionBias,
           .moe = kDeepseekMoe,
           .names = kSharedExpertsNames},
    Family{.family = ModelFamily::kExaone,
           .name = "exaone",
           .architecture = "ExaoneForCausalLM",
           .keys = {.layers = "num_layers",
                    .norm_epsilon = "layer_norm_epsilon",
                    .activation = "activation_function"},
           .has_head_dim = true,
           .intermediate_per_hidden = 4,
           .norm_epsilon = 1e-5,
           .names = kExaoneNames},
    Family{.family = ModelFamily::kInternlm,
           .name = "internlm",
           .architecture = "InternLMForCausalLM",
           .flags = kBiasFlag},
    Family{.family = ModelFamily::kInternlm2,
           .name = "internlm2",
           .architecture = "InternLM2ForCausalLM",
           .flags = kBiasFlag,
           .names = kInternlm2Names},
    Family{.family = ModelFamily::kMinicpm,
           .name = "minicpm",
           .architecture = "MiniCPMForCausalLM",
           .flags = kAttentionBias,
           .tie_word_embeddings = true},
    Family{.family = ModelFamily::kOrion,
           .name = "orion",
           .architecture = "OrionForCausalLM",
           .traits = {.norm = NormKind::kLayer, .norm_bias = true},
           .flags = kAttentionBias,
           .norm_epsilon = 1e-5},
    Family{.family = ModelFamily::kQwen,
           .name = "qwen",
           .architecture = "QWenLMHeadModel",
           .traits = {.qkv_bias = true},
           .keys = {.norm_epsilon = "layer_norm_epsilon"},
           .max_position_embeddings = 8192,
           .special = read_qwen,
           .names = kQwenNames},
};

}  // namespace

std::span<const Family> own_code_families() { return kRows; }

}  // namespace meshplan::planner
