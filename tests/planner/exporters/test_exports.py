"""Files for other trainers: as the golden ones, readable by their formats' parsers, of known keys, and refused by name.

MESHPLAN names the program. With UPDATE_GOLDEN=1 the golden files are written anew.
"""
import ast
import json
import os
import re
import subprocess
import tempfile
import tomllib
import unittest
from pathlib import Path

import yaml

from keys import check
from plans import base_plan, changed, export, plan_for, run

GOLDEN = Path(__file__).parent / "golden"
SUFFIX = {"torchtitan": "toml", "torchtitan-0.3": "py", "torchtitan-main": "py", "lightning": "py", "ray-train": "py", "megatron": "sh",
          "accelerate": "yaml", "deepspeed": "json", "nanotron": "yaml"}
PARSE = {"toml": tomllib.loads, "py": ast.parse, "yaml": yaml.safe_load, "json": json.loads, "sh": lambda text: text}
NARROW = {"reduce_dtype": "bfloat16"}


class Exports(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.llama = base_plan("llama-3.1-8b", "h100-sxm", "--nodes", 4, "--seq-length", 8192, "--tp", 8, "--dp-shard", 4,
                              "--accumulation", 4)
        cls.qwen = base_plan("qwen2.5-0.5b", "h100-sxm", "--nodes", 1, "--seq-length", 2048, "--tp", 2, "--dp-shard", 4,
                             "--sequence-parallel", "off", "--accumulation", 2)

    def plans(self):
        """One for each target, with much of what it can say."""
        pipeline = dict(pp=2, dp_shard=2, dp_replicate=1, tp=8, virtual_stages=2, gradient_accumulation="unsharded")
        llama, qwen = self.llama, self.qwen
        plain = dict(sequence_parallel=False)
        return {
            "torchtitan": changed(llama, {"matmul_dtype": "float8", "max_grad_norm": 1}, **pipeline, async_tp=True),
            "torchtitan-0.3": changed(llama, **pipeline, loss_chunks=8),
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
                PARSE[SUFFIX[target]](text)
                check(target, text)
                if target == "megatron":
                    subprocess.run(["bash", "-n"], input=text, text=True, check=True)

    def test_pipelines_give_each_chunk_its_blocks(self):
        text, _ = export(self.plans()["torchtitan"], "torchtitan")
        parts = tomllib.loads(text)["parallelism"]["module_fqns_per_model_part"]
        self.assertEqual(len(parts), 4)
        self.assertEqual(sum(parts, []), ["tok_embeddings", *(f"layers.{i}" for i in range(32)), "norm", "output"])
        text, _ = export(self.plans()["torchtitan-0.3"], "torchtitan-0.3")
        self.assertIn('"norm", "lm_head"]', text)
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

    def test_a_plan_for_a_target_is_exported_and_no_other_flag_is_needed(self):
        flags = {"nanotron": ["--model", "llama-3-8b"], "lightning": ["--model", "qwen2.5-0.5b"]}
        for target in SUFFIX:
            with self.subTest(target), tempfile.TemporaryDirectory() as folder:
                job = [*flags.get(target, ["--model", "llama-3.1-8b"]), "--cluster", "h100-sxm", "--nodes", 2, "--seq-length",
                       8192, "--global-batch-size", 64]
                ours = Path(folder) / "ours.json"
                self.assertEqual(run("plan", *job, "-o", ours).returncode, 0)
                _, refused = export(json.loads(ours.read_text()), target)
                self.assertIn(f"meshplan plan --for {target}", refused)
                text, answer = export(json.loads(plan_for(target, folder, *job).read_text()), target)
                self.assertIsNotNone(text, answer)
                check(target, text)

    def test_a_search_for_a_target_says_why_it_can_have_no_layout(self):
        ended = run("plan", "--for", "torchtitan", "--model", "qwen2.5-0.5b", "--cluster", "h100-sxm", "--nodes", 1, "--seq-length",
                    2048)
        self.assertEqual(ended.returncode, 3)
        self.assertIn("torchtitan cannot express model=qwen2.5-0.5b", ended.stderr)

    def test_flags_that_are_given_win_over_what_a_target_pins(self):
        with tempfile.TemporaryDirectory() as folder:
            path = plan_for("torchtitan-main", folder, "--model", "llama-3.1-8b", "--cluster", "h100-sxm", "--nodes", 2, "--seq-length",
                            8192, "--loss-chunks", 4, "--activation-checkpointing", "full")
            layout = json.loads(path.read_text())["layout"]
        self.assertEqual((layout["loss_chunks"], layout["activation_checkpointing"]), (4, "full"))

    def test_axes_are_expressed_or_refused_as_documented(self):
        """Each axis of the mesh alone, on 32 ranks: as the table of docs/exports.md has it."""
        axes = {"dp_shard": dict(dp_shard=32, tp=1), "dp_replicate": dict(dp_replicate=32, dp_shard=1, tp=1),
                "hybrid": dict(dp_replicate=4, dp_shard=8, tp=1), "tp": dict(dp_shard=4, tp=8),
                "cp": dict(dp_shard=8, cp=4, tp=1), "pp": dict(dp_shard=8, pp=4, tp=1, gradient_accumulation="unsharded"),
                "zero2": dict(dp_shard=32, tp=1, sharding="shard_grad_op", accumulation=1),
                "zero1": dict(dp_shard=32, tp=1, sharding="shard_optimizer")}
        said = {"torchtitan": "dp_shard dp_replicate hybrid tp cp pp zero2", "lightning": "dp_shard tp zero2",
                "ray-train": "dp_shard hybrid tp zero2", "megatron": "dp_shard dp_replicate tp cp pp zero1 zero2",
                "accelerate": "dp_shard hybrid tp cp zero2", "deepspeed": "dp_shard dp_replicate tp zero1 zero2",
                "nanotron": "dp_replicate zero1"}
        said["torchtitan-0.3"] = said["torchtitan-main"] = said["torchtitan"]
        for target in SUFFIX:
            job = {"decay_norms_and_biases": target != "megatron"}
            if target == "accelerate":
                job |= NARROW
            plain = target in ("lightning", "ray-train", "accelerate", "deepspeed")
            plan = dict(self.llama, model=dict(self.llama["model"], rope_scaling=None)) if target == "nanotron" else self.llama
            for axis, layout in axes.items():
                with self.subTest(target, axis=axis):
                    layout = {"sequence_parallel": layout["tp"] > 1 and not plain} | layout
                    if target == "megatron":
                        layout["gradient_accumulation"] = "sharded"
                    narrow = NARROW if target == "deepspeed" and axis == "dp_replicate" else {}
                    text, answer = export(changed(plan, job | narrow, **layout), target)
                    self.assertEqual(text is not None, axis in said[target].split(), answer)

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
