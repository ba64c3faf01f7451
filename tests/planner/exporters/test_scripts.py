"""Exported scripts train on CPUs over the planned mesh, and their losses are those of `meshplan train`: same plan, weights, data.

MESHPLAN names the program, MESHPLAN_TRAINERS a Python that has Lightning.
"""
import csv
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from plans import TRAINERS, changed, export, run

STEPS = 6
TOLERANCE = 1e-4
MAKE_INPUTS = Path(__file__).parents[2] / "peers" / "make_inputs.py"
TRAINING = {"learning-rate": 1e-3, "weight-decay": 0.01, "seed": 42}


def run_python(python, *arguments, **more):
    ended = subprocess.run([python, *map(str, arguments)], capture_output=True, text=True, timeout=270,
                           env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}, **more)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return ended.stdout


class Scripts(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def plan(self, family, target, *flags):
        """Of a small model with weights of its own, 2 x 2."""
        run_python(sys.executable, MAKE_INPUTS, "--out", self.folder, "--family", family, "--hidden", 64, "--layers", 3, "--heads", 4,
                   "--kv-heads", 2, "--intermediate", 128, "--vocab", 512, *(["--tie-embeddings"] if family == "qwen2" else []))
        path = self.folder / "plan.json"
        ended = run("plan", "--model", self.folder / "model", "--cluster", "local-cpu", "--nodes", 1, "--gpus-per-node", 4,
                    "--seq-length", 64, "--microbatch-size", 2, "--accumulation", 2, "--for", target, *flags, "-o", path)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        return json.loads(path.read_text())

    def script(self, plan, target):
        text, answer = export(plan, target)
        self.assertIsNotNone(text, answer)
        path = self.folder / "train.py"
        path.write_text(text)
        return path

    def losses_of_meshplan(self, plan):
        path = self.folder / "planned.json"
        path.write_text(json.dumps(plan))
        flags = {"data": self.folder / "data", "steps": STEPS, "storage-path": self.folder / "runs", "experiment-name": "ours",
                 "log-interval": 1} | TRAINING
        ended = run("train", path, *(word for name, value in flags.items() for word in (f"--{name}", value)), timeout=270)
        self.assertEqual(ended.returncode, 0, ended.stderr[-3000:])
        lines = (self.folder / "runs" / "ours" / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines]

    def compare(self, plan, theirs, what):
        ours = self.losses_of_meshplan(plan)
        self.assertEqual((len(theirs), len(ours)), (STEPS, STEPS))
        apart = max(abs(a - b) / b for a, b in zip(theirs, ours, strict=True))
        print(f"{what}: losses at most {apart:.1e} apart, {TOLERANCE:.0e} allowed", file=sys.stderr)
        self.assertLess(apart, TOLERANCE)
        self.assertLess(theirs[-1], theirs[0])

    def flags(self):
        return {"data": self.folder / "data", "weights": self.folder / "model", "steps": STEPS} | TRAINING

    @unittest.skipUnless(TRAINERS.is_file(), "left out, as scripts/bootstrap could not install Lightning")
    def test_lightning_2_x_2(self):
        plan = changed(self.plan("llama", "lightning", "--tp", 2, "--dp-shard", 2), activation_checkpointing="full",
                       checkpointed_blocks=1, blocks_kept_gathered=1)
        words = [word for name, value in self.flags().items() for word in (f"--{name}", value)]
        run_python(TRAINERS, self.script(plan, "lightning"), *words, "--accelerator", "cpu", "--storage-path", self.folder / "theirs",
                   cwd=self.folder)
        with open(next((self.folder / "theirs").rglob("metrics.csv"))) as metrics:
            theirs = [float(row["loss"]) for row in csv.DictReader(metrics) if row["loss"]]
        self.compare(plan, theirs, "Lightning, full_shard, tp 2 x dp_shard 2")


if __name__ == "__main__":
    unittest.main()
