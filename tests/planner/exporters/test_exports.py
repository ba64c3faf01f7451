"""Files for other trainers: as the golden ones, readable by their formats' parsers, of known keys, and refused by name.

MESHPLAN names the program. With UPDATE_GOLDEN=1 the golden files are written anew.
"""
import ast
import json
import os
import re
import subprocess
import tomllib
import unittest
from pathlib import Path

import yaml

from plans import base_plan, changed, export, run

GOLDEN = Path(__file__).parent / "golden"
SUFFIX = {"torchtitan": "toml", "torchtitan-main": "py", "lightning": "py", "ray-train": "py", "megatron": "sh",
          "accelerate": "yaml", "deepspeed": "json", "nanotron": "yaml"}
PARSE = {"toml": tomllib.loads, "py": ast.parse, "yaml": yaml.safe_load, "json": json.loads, "sh": lambda text: text}
# Every key that a file may hold, from the trainers' sources at the versions that docs/exports.md names.
KEYS = {
    "torchtitan": {
        "model": "name flavor converters", "training": "local_batch_size global_batch_size seq_len max_norm dtype "
        "mixed_precision_param mixed_precision_reduce", "parallelism": "data_parallel_replicate_degree "
        "data_parallel_shard_degree fsdp_reshard_after_forward tensor_parallel_degree enable_async_tensor_parallel "
        "context_parallel_degree context_parallel_rotate_method pipeline_parallel_degree pipeline_parallel_schedule "
        "pipeline_parallel_microbatch_size module_fqns_per_model_part", "activation_checkpoint": "mode",
        "compile": "enable components", "quantize": "linear"},
    "accelerate": set("""compute_environment debug distributed_type downcast_bf16 enable_cpu_affinity machine_rank
        main_training_function mixed_precision num_machines num_processes rdzv_backend same_network use_cpu fsdp_config
        parallelism_config""".split()),
    "deepspeed": set("""train_batch_size train_micro_batch_size_per_gpu gradient_accumulation_steps gradient_clipping bf16 fp16
        communication_data_type data_types zero_optimization tensor_parallel""".split()),
    "nanotron": set("""checkpoints data_stages general lighteval logging model optimizer parallelism profiler tokenizer
        tokens""".split()),
    "megatron": set("""num-layers hidden-size ffn-hidden-size num-attention-heads group-query-attention num-query-groups
        kv-channels seq-length max-position-embeddings position-embedding-type rotary-base rotary-percent use-rope-scaling
        rope-scaling-factor swiglu normalization norm-epsilon disable-bias-linear add-qkv-bias qk-layernorm
        untie-embeddings-and-output-weights attention-dropout hidden-dropout init-method-std vocab-size
        make-vocab-size-divisible-by num-experts moe-router-topk moe-ffn-hidden-size moe-layer-freq
        moe-token-dispatcher-type moe-grouped-gemm moe-shared-expert-intermediate-size tensor-model-parallel-size
        sequence-parallel tp-comm-overlap pipeline-model-parallel-size pipeline-model-parallel-layout
        context-parallel-size cp-comm-type expert-model-parallel-size expert-tensor-parallel-size
        use-distributed-optimizer overlap-grad-reduce overlap-param-gather use-megatron-fsdp
        data-parallel-sharding-strategy no-gradient-accumulation-fusion ckpt-format num-distributed-optimizer-instances
        optimizer-cpu-offload optimizer-offload-fraction use-precision-aware-optimizer recompute-granularity
        recompute-method recompute-num-layers micro-batch-size global-batch-size clip-grad calculate-per-token-loss bf16
        grad-reduce-in-bf16 fp8-format fp8-recipe""".split()),
}
NARROW = {"reduce_dtype": "bfloat16"}
ALL_FLAGS = dict(pp=1, dp_replicate=1, dp_shard=4, cp=1, tp=8)


class Exports(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.llama = base_plan("llama-3.1-8b", "h100-sxm", "--nodes", 4, "--seq-length", 8192, "--tp", 8, "--dp-shard", 4,
                              "--accumulation", 4)
        cls.qwen = base_plan("qwen2.5-0.5b", "h100-sxm", "--nodes", 1, "--seq-length", 2048, "--tp", 2, "--dp-shard", 4,
                             "--sequence-parallel", "off", "--accumulation", 2)

    def plans(self):
        """One for each target, with much of what it can say."""
        pipeline = dict(pp=4, dp_shard=1, dp_replicate=1, tp=8, virtual_stages=2, gradient_accumulation="unsharded")
        llama, qwen = self.llama, self.qwen
        plain = dict(sequence_parallel=False)
        return {
            "torchtitan": changed(llama, {"matmul_dtype": "float8", "max_grad_norm": 1}, **pipeline, async_tp=True),
            "torchtitan-main": changed(llama, activation_checkpointing="full", loss_chunks=8),
            "lightning": changed(qwen, {"max_grad_norm": 1}, activation_checkpointing="full", checkpointed_blocks=3),
            "ray-train": changed(qwen, NARROW, dp_replicate=2, dp_shard=2, blocks_kept_gathered=4, prefetch_depth=2),
            "megatron": changed(llama, {"decay_norms_and_biases": False}, pp=2, dp_shard=2, virtual_stages=2,
                                sharding="shard_optimizer", activation_checkpointing="full", optimizer_offload=True),
            "accelerate": changed(llama, NARROW, dp_shard=2, dp_replicate=2, **plain, activation_checkpointing="full"),
            "deepspeed": changed(qwen, activation_checkpointing="full", prefetch_depth=2),
            "nanotron": changed(dict(llama, model=dict(llama["model"], rope_scaling=None)), pp=2, dp_shard=2,
                                sharding="shard_optimizer"),
        }

    def test_golden_files(self):
        for target, plan in self.plans().items():
            with self.subTest(target):
                text, answer = export(plan, target)
                self.assertIsNotNone(text, answer)
                path = GOLDEN / f"{target}.{SUFFIX[target]}"
                if os.environ.get("UPDATE_GOLDEN"):
                    path.write_text(text)
                self.assertEqual(text, path.read_text())
                if target == "deepspeed":
                    self.assertIn("DeepSpeed v0.19.5", answer["for_the_script"][0])
                else:
                    self.assertIn(f"For {answer['version']}; written by meshplan ", "\n".join(text.splitlines()[:3]))

    def test_parsers_read_them_and_know_every_key(self):
        for target, plan in self.plans().items():
            with self.subTest(target):
                text, _ = export(plan, target)
                read = PARSE[SUFFIX[target]](text)
                if target == "torchtitan":
                    for table, keys in read.items():
                        self.assertLessEqual(set(keys), set(KEYS[target][table].split()), table)
                elif target == "megatron":
                    flags = re.findall(r"^  --([a-z0-9-]+)", text.split("exec torchrun")[0], re.MULTILINE)
                    self.assertLessEqual(set(flags), KEYS[target])
                    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
                elif target in KEYS:
                    self.assertLessEqual(set(read), KEYS[target])

    def test_pipelines_give_each_chunk_its_blocks(self):
        text, _ = export(self.plans()["torchtitan"], "torchtitan")
        parts = tomllib.loads(text)["parallelism"]["module_fqns_per_model_part"]
        self.assertEqual(len(parts), 8)
        self.assertEqual(sum(parts, []), ["tok_embeddings", *(f"layers.{i}" for i in range(32)), "norm", "output"])
        text, _ = export(self.plans()["megatron"], "megatron")
        layout = re.search(r"--pipeline-model-parallel-layout '([^']*)'", text)[1]
        self.assertEqual(layout, "|".join(["E" + 8 * "t", 8 * "t", 8 * "t", 8 * "t" + "L"]))

    def test_what_cannot_be_said_is_refused_by_name_all_at_once(self):
        unsayable = changed(self.llama, {"moment_dtype": "bfloat16", "decay_norms_and_biases": False}, loss_chunks=4,
                            activation_checkpointing="selective", checkpointed_blocks=7, blocks_kept_gathered=3,
                            prefetch_depth=2, optimizer_offload=True, async_tp=True)
        for target in SUFFIX:
            with self.subTest(target):
                text, refused = export(unsayable, target)
                self.assertIsNone(text)
                for name in ("moment_dtype=bfloat16", "activation_checkpointing=selective"):
                    self.assertIn(f"{target} cannot express {name}", refused)
        _, refused = export(unsayable, "torchtitan")
        for name in ("loss_chunks=4", "checkpointed_blocks=7", "blocks_kept_gathered=3", "prefetch_depth=2",
                     "optimizer_offload=on", "decay_norms_and_biases=off"):
            self.assertIn(f"torchtitan cannot express {name}", refused)

    def test_every_target_refuses_what_it_does_not_list(self):
        targets = json.loads(run("export", "--list", "--json").stdout)["targets"]
        self.assertEqual({t["name"] for t in targets}, set(SUFFIX))
        asking = {"pp": dict(pp=4, dp_shard=1), "cp": dict(cp=4, dp_shard=1), "loss_chunks": dict(loss_chunks=4),
                  "dp_replicate over dp_shard": dict(dp_replicate=2, dp_shard=2), "prefetch_depth": dict(prefetch_depth=3),
                  "blocks_kept_gathered": dict(blocks_kept_gathered=2), "optimizer_offload": dict(optimizer_offload=True),
                  "async_tp": dict(async_tp=True), "sequence_parallel=on": dict(sequence_parallel=True),
                  "sequence_parallel=off": dict(sequence_parallel=False),
                  "activation_checkpointing=full": dict(activation_checkpointing="full")}
        for target in targets:
            for choice, layout in asking.items():
                with self.subTest(target["name"], choice=choice):
                    _, answer = export(changed(self.llama, **layout), target["name"])
                    key = choice.split(" ")[0].split("=")[0]
                    refused = isinstance(answer, str) and f"cannot express {key}=" in answer
                    if choice not in target["expresses"]:
                        self.assertTrue(refused, answer)

    def test_hostile_names_stay_text(self):
        evil = "x\"\n'''$(touch owned)`id`\\\u2028]\n[evil]\nimport os # "
        for target, plan in self.plans().items():
            with self.subTest(target):
                plan["model"]["_name_or_path"] = evil
                plan["model_source"] = evil
                plan["cluster"]["name"] = evil
                text, answer = export(plan, target)
                self.assertIsNotNone(text, answer)
                clean, _ = export(self.plans()[target], target)
                kept = lambda t: [line for line in t.splitlines() if not line.startswith("#")]
                differing = [a for a, b in zip(kept(text), kept(clean), strict=True) if a != b]
                self.assertLessEqual(len(differing), 1, "only nanotron's run has a name")
                self.assertTrue(all(line.startswith('  run: "') for line in differing), differing)
                self.assertTrue(text.isascii())
                PARSE[SUFFIX[target]](text)

    def test_the_command_says_what_it_lacks(self):
        for arguments, message in ((["export"], "plan is required"), (["export", "plan.json"], "--to is required"),
                                   (["export", "plan.json", "--to", "nemo"], "must be one of torchtitan")):
            ended = run(*arguments)
            self.assertEqual(ended.returncode, 2)
            self.assertIn(message, ended.stderr)


if __name__ == "__main__":
    unittest.main()
