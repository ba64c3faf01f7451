"""The parameter table against transformers: for every family, small configs with each of its
options, and published ones, are built on the meta device, and the names and shapes of all
parameters, as a checkpoint holds them, must be ours. The program that prints ours is named by
PARAMETERS_OF_CONFIG."""

import json
import os
import pathlib
import subprocess
import unittest
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.core_model_loading import revert_weight_conversion

PUBLISHED = pathlib.Path(__file__).with_name("published_models.json")

COMMON = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
          "num_key_value_heads": 2, "vocab_size": 250, "max_position_embeddings": 128, "pad_token_id": 0}
HEAD_DIM = {**COMMON, "head_dim": 24}
GPT = {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128, "vocab_size": 250}
GPTJ = {**GPT, "rotary_dim": 8}
MPT = {"d_model": 64, "n_layers": 3, "n_heads": 4, "max_seq_len": 128, "vocab_size": 250}
OPT = {"hidden_size": 64, "ffn_dim": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 250,
       "max_position_embeddings": 128, "word_embed_proj_dim": 64}
NEOX = {key: value for key, value in COMMON.items() if key != "num_key_value_heads"}
FALCON = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 250}
MOE = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 40}
QWEN2_MOE = {**COMMON, **MOE, "shared_expert_intermediate_size": 56}
ATTENTION_BIAS = [{}, {"attention_bias": True}]
LLAMA_OPTIONS = [{}, {"attention_bias": True}, {"mlp_bias": True}, {"tie_word_embeddings": True}]
SPARSE = [{}, {"decoder_sparse_step": 2}, {"mlp_only_layers": [0, 2]}, {"num_experts": 0}]

# A family's sizes, and what is changed of them in each of its configs.
FAMILIES = {
    "llama": (HEAD_DIM, LLAMA_OPTIONS),
    "mistral": (HEAD_DIM, [{}, {"sliding_window": None}]),
    "qwen2": (COMMON, [{}, {"tie_word_embeddings": True}]),
    "qwen3": (COMMON, ATTENTION_BIAS + [{"head_dim": 24}]),
    "arcee": (HEAD_DIM, LLAMA_OPTIONS),
    "bloom": ({"hidden_size": 64, "n_layer": 3, "n_head": 4, "vocab_size": 250}, [{}]),
    "codegen": (GPTJ, [{}, {"n_inner": 96}]),
    "cohere": (COMMON, ATTENTION_BIAS + [{"use_qk_norm": True}]),
    "cohere2": (COMMON, ATTENTION_BIAS),
    "cwm": (HEAD_DIM, [{}, {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}]),
    "dbrx": ({"d_model": 64, "n_layers": 3, "n_heads": 4, "max_seq_len": 128, "vocab_size": 250},
             [{"attn_config": {"kv_n_heads": kv_heads, "rope_theta": 5e5},
               "ffn_config": {"ffn_hidden_size": 96, "moe_num_experts": 6, "moe_top_k": 2}} for kv_heads in (1, 2)]),
    "dots1": ({**HEAD_DIM, "n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 40,
               "n_shared_experts": 1, "n_group": 1, "topk_group": 1},
              [{}, {"first_k_dense_replace": 2, "n_shared_experts": 2}, {"attention_bias": True}]),
    "ernie4_5": (COMMON, [{}, {"use_bias": True}]),
    "exaone4": (COMMON, [{}, {"sliding_window_pattern": 3}]),
    "falcon": (FALCON, [{}, {"bias": True}, {"multi_query": False}, {"parallel_attn": False, "multi_query": False},
                        {"new_decoder_architecture": True, "num_kv_heads": 2},
                        {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
                        {"alibi": True, "ffn_hidden_size": 96}]),
    "flex_olmo": (COMMON, ATTENTION_BIAS + [{"num_experts": 6, "num_experts_per_tok": 2}]),
    "gemma": (COMMON, ATTENTION_BIAS),
    "gemma2": (COMMON, ATTENTION_BIAS),
    "gemma3_text": (COMMON, ATTENTION_BIAS),
    "glm": (COMMON, [{}, {"attention_bias": False}]),
    "glm4": (COMMON, [{}, {"attention_bias": False}]),
    "glm4_moe": ({**COMMON, "n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 40, "n_group": 1,
                  "topk_group": 1}, [{}, {"first_k_dense_replace": 2, "n_shared_experts": 2}, {"use_qk_norm": True}]),
    "gpt2": (GPT, [{}, {"n_inner": 96}, {"tie_word_embeddings": False}]),
    "gpt_bigcode": (GPT, [{}, {"multi_query": False}, {"n_inner": 96}]),
    "gpt_neo": ({"hidden_size": 64, "num_layers": 4, "num_heads": 4, "vocab_size": 250, "max_position_embeddings": 128,
                 "attention_types": [[["global", "local"], 2]]}, [{}, {"intermediate_size": 96}]),
    "gpt_neox": (NEOX, [{}, {"use_parallel_residual": False}, {"attention_bias": False}]),
    "gptj": (GPTJ, [{}, {"n_inner": 96}]),
    "granite": (COMMON, LLAMA_OPTIONS),
    # Its heads do not take head_dim for the width of their output, so it is hidden_size over them.
    "helium": (COMMON | {"head_dim": 16}, LLAMA_OPTIONS),
    "hunyuan_v1_dense": (HEAD_DIM, ATTENTION_BIAS),
    "internlm3": (HEAD_DIM, [{}, {"qkv_bias": True, "bias": True}, {"tie_word_embeddings": True}]),
    "jais2": (HEAD_DIM, [{}, {"attention_bias": False}, {"mlp_bias": False}]),
    "minimax_m2": (HEAD_DIM, [{"num_local_experts": 6, "num_experts_per_tok": 2}]),
    "ministral": (HEAD_DIM, [{}, {"sliding_window": None}]),
    "ministral3": (HEAD_DIM, [{}]),
    "mixtral": (COMMON, [{}, {"num_local_experts": 5, "num_experts_per_tok": 3}]),
    "mpt": (MPT, [{}]),
    "nemotron": (HEAD_DIM, LLAMA_OPTIONS),
    "olmo": (COMMON, ATTENTION_BIAS),
    "olmo2": (COMMON, ATTENTION_BIAS),
    "olmo3": (COMMON, ATTENTION_BIAS),
    "olmoe": (COMMON, ATTENTION_BIAS + [{"num_experts": 5, "num_experts_per_tok": 3}]),
    "openai-gpt": (GPT, [{}]),
    "opt": (OPT, [{}, {"enable_bias": False}, {"do_layer_norm_before": False, "word_embed_proj_dim": 48},
                  {"layer_norm_elementwise_affine": False}, {"_remove_final_layer_norm": True}]),
    "persimmon": (NEOX, [{}, {"qk_layernorm": False}, {"tie_word_embeddings": True}]),
    "phi": (COMMON, [{}, {"qk_layernorm": True}]),
    "phi3": (COMMON, [{}]),
    "phimoe": (COMMON, [{}, {"attention_bias": True, "lm_head_bias": True}]),
    "qwen2_moe": (QWEN2_MOE, SPARSE + [{"qkv_bias": False}]),
    "qwen3_moe": ({**COMMON, **MOE}, SPARSE + [{"attention_bias": True}]),
    "seed_oss": (COMMON, [{}, {"attention_bias": False, "mlp_bias": True}, {"attention_out_bias": True}]),
    "smollm3": (COMMON, ATTENTION_BIAS),
    "stablelm": (COMMON, [{}, {"use_qkv_bias": True}, {"qk_layernorm": True}, {"use_parallel_residual": True}]),
    "starcoder2": (COMMON, [{}, {"use_bias": False}, {"tie_word_embeddings": False}]),
    "vaultgemma": (COMMON, ATTENTION_BIAS),
}


def theirs(config):
    """Names and shapes as transformers' model saves them; tied weights once."""
    sizes = {key: value for key, value in config.items() if key != "model_type"}
    built = AutoConfig.for_model(config["model_type"], **sizes)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(built)
    saved = revert_weight_conversion(model, dict(model.named_parameters()))
    return {name: list(tensor.shape) for name, tensor in saved.items()}, built.to_dict()


def ours(configs):
    lines = "".join(json.dumps(config) + "\n" for config in configs)
    printed = subprocess.run([os.environ["PARAMETERS_OF_CONFIG"]], input=lines, capture_output=True, text=True,
                             check=True, timeout=120).stdout
    return [json.loads(line) for line in printed.splitlines()]


def difference(mine, other):
    only_mine = sorted(set(mine) - set(other))
    only_other = sorted(set(other) - set(mine))
    shapes = [(name, mine[name], other[name]) for name in mine if name in other and mine[name] != other[name]]
    return only_mine[:6], only_other[:6], shapes[:6]


class Parameters(unittest.TestCase):
    def check(self, configs):
        for config, answer in zip(configs, ours(configs)):
            with self.subTest(config):
                self.assertNotIn("error", answer)
                self.assertTrue(answer["reads_back"])
                expected, written = theirs(config)
                self.assertEqual(difference(answer["parameters"], expected), ([], [], []))
                self.assertEqual(answer["count"], sum(torch.Size(shape).numel() for shape in expected.values()))
                # What transformers writes for this model reads as the same model.
                again = ours([json.loads(json.dumps(written))])[0]
                self.assertEqual(again.get("parameters", again), answer["parameters"])

    def test_small_models_of_every_family(self):
        configs = [{"model_type": family, **sizes, **change}
                   for family, (sizes, changes) in FAMILIES.items() for change in changes]
        self.check(configs)
        print(f"{len(configs)} small models of {len(FAMILIES)} families: all names and shapes equal")

    def test_published_models(self):
        published = [model for model in json.loads(PUBLISHED.read_text())["models"] if not model.get("own_code")]
        self.check([model["config"] for model in published])
        print(f"{len(published)} published models: all names and shapes equal")

    def test_no_family_is_left_out(self):
        refused = ours([{"model_type": "no such family"}])[0]["error"]
        families = refused.split("; use ")[1].split(", or ")[0].split(", ")
        tested = set(FAMILIES) | {model["config"]["model_type"]
                                  for model in json.loads(PUBLISHED.read_text())["models"]}
        self.assertEqual(set(families), tested)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    unittest.main()
