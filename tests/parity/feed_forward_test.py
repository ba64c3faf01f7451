"""The feed-forward demo on real ranks: its losses against PyTorch's FSDP2 x DTensor, every strategy, and its checkpoints.

MESHPLAN names the program.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy
from ranks import Failed, run_ranks
from safetensors.numpy import load_file

MESHPLAN = os.environ.get("MESHPLAN", "")
PEERS = pathlib.Path(__file__).resolve().parents[1] / "peers"
DIM, HIDDEN_DIM, ROWS = 48, 72, 640
# Of a model and rows whose outputs add up to 2 at least in every step: of a sum that cancels, rounding leaves no digit to compare.
SEED = 45
BATCH_SIZE = 8
STEPS = 10
LOSS_TOLERANCE = 1e-5
SHORT_TYPE_TOLERANCE = 2e-2
MEMORY_TOLERANCE = 0.02


def relative(ours: float, theirs: float) -> float:
    return abs(ours - theirs) / abs(theirs)


class FeedForwardDemo(unittest.TestCase):
    largest_memory_difference = 0.0

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.temporary.name)
        subprocess.run([sys.executable, PEERS / "make_feed_forward_inputs.py", "--out", cls.root, "--dim", str(DIM), "--hidden-dim",
                        str(HIDDEN_DIM), "--rows", str(ROWS), "--seed", str(SEED)], check=True, timeout=120)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def run_ours(self, name: str, dp: int, tp: int, *more) -> pathlib.Path:
        """The run's folder."""
        given = list(map(str, more))
        flags = {"--model": self.root / "model", "--data": self.root / "rows.safetensors", "--init": "weights", "--dp-size": dp,
                 "--tp-size": tp, "--batch-size": BATCH_SIZE, "--steps": STEPS, "--learning-rate": 3e-3,
                 "--storage-path": self.root / "runs", "--experiment-name": name}
        words = [str(word) for flag in flags.items() if flag[0] not in given for word in flag]
        run_ranks([MESHPLAN, "train", *words, *given], dp * tp, self.root / f"{name}.log", deadline=120)
        return self.root / "runs" / name

    def train(self, name: str, dp: int, tp: int, *more) -> list[float]:
        """The losses of a run of ours; what it issued and held must be what its plan says."""
        folder = self.run_ours(name, dp, tp, *more)
        compared = subprocess.run([MESHPLAN, "compare", folder / "plan.json", folder, "--json"], capture_output=True, text=True,
                                  timeout=60)
        self.assertEqual(compared.returncode, 0, compared.stderr)
        comparison = json.loads(compared.stdout)
        self.assertTrue(comparison["collectives"]["equal"], comparison["collectives"])
        apart = abs(comparison["memory"]["difference_percent"]) / 100
        self.largest_memory_difference = max(self.largest_memory_difference, apart)
        self.assertLessEqual(apart, MEMORY_TOLERANCE, comparison["memory"])
        return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]

    def train_peer(self, dp: int, tp: int) -> list[float]:
        log = self.root / f"peer-{dp}x{tp}.log"
        command = [sys.executable, "-B", str(PEERS / "feed_forward_reference.py"), "--model", str(self.root / "model"), "--data",
                   str(self.root / "rows.safetensors"), "--dp", str(dp), "--tp", str(tp), "--steps", str(STEPS), "--batch-size",
                   str(BATCH_SIZE)]
        for attempt in range(1, 4):
            try:
                run_ranks(command, dp * tp, log, deadline=180)
                break
            except Failed:
                # Over Gloo the peer aborts now and then as Python ends.
                if attempt == 3:
                    raise
        said = log.with_name(f"{log.name}.0").read_text().splitlines()
        return [json.loads(line)["loss"] for line in said if line.startswith('{"step"')]

    def test_has_the_losses_of_pytorch_on_every_mesh(self):
        largest = 0.0
        for dp, tp in [(1, 1), (2, 1), (1, 2), (2, 2)]:
            with self.subTest(dp=dp, tp=tp):
                peer, ours = self.train_peer(dp, tp), self.train(f"parity-{dp}x{tp}", dp, tp)
                self.assertEqual((len(peer), len(ours)), (STEPS, STEPS))
                self.assertLess(ours[-1], ours[0])
                largest = max(largest, *map(relative, ours, peer))
        print(f"losses against the peer's, 4 meshes x {STEPS} steps: {largest:.1e} apart at most (tolerance {LOSS_TOLERANCE:g}); allocated "
              f"peak against the plan's: {self.largest_memory_difference:.2%} (tolerance {MEMORY_TOLERANCE:.0%})")
        self.assertLessEqual(largest, LOSS_TOLERANCE)

    def test_has_the_same_losses_under_every_strategy(self):
        # What one microbatch of one rank would have, in parts: gradients are averaged over them, and so is the loss.
        whole = self.train("whole", 1, 1)
        layouts = {
            "shard_grad_op": (2, 2, 1, ["--sharding", "shard_grad_op"]), "shard_optimizer": (2, 2, 1, ["--sharding", "shard_optimizer"]),
            "no_shard": (2, 2, 1, ["--sharding", "no_shard"]),
            "hybrid_shard": (4, 1, 1, ["--sharding", "hybrid_shard", "--dp-replicate", 2]),
            "hybrid_shard_zero2": (4, 1, 2, ["--sharding", "hybrid_shard_zero2", "--dp-replicate", 2]),
            "accumulated": (1, 2, 4, []), "whole-gradients": (2, 2, 2, ["--gradient-accumulation", "unsharded"]),
            "rows-of-a-sequence": (2, 2, 1, ["--data", "synthetic", "--seq-length", 2]),
        }
        synthetic = self.train("whole-synthetic", 1, 1, "--data", "synthetic", "--seq-length", 2)
        largest = 0.0
        for name, (dp, tp, accumulation, more) in layouts.items():
            with self.subTest(name):
                parts = dp * accumulation
                losses = self.train(name, dp, tp, "--batch-size", BATCH_SIZE // parts, "--accumulation", accumulation, *more)
                expected = synthetic if "synthetic" in more else whole
                largest = max(largest, *(relative(parts * ours, theirs) for ours, theirs in zip(losses, expected, strict=True)))
        print(f"losses of {len(layouts)} layouts against one rank's, {STEPS} steps: {largest:.1e} apart at most (tolerance "
              f"{LOSS_TOLERANCE:g}); allocated peak against the plan's: {self.largest_memory_difference:.2%}")
        self.assertLessEqual(largest, LOSS_TOLERANCE)

    def test_trains_in_shorter_types_as_planned(self):
        wide = self.train("float32", 2, 2)
        # Of float16, updates are left out until the loss scale is small enough: only the first loss is the same.
        for dtype, step in [("bfloat16", STEPS - 1), ("float16", 0)]:
            with self.subTest(dtype):
                losses = self.train(dtype, 2, 2, "--param-dtype", dtype)
                apart = relative(losses[step], wide[step])
                print(f"{dtype}: loss of step {step} against float32's: {apart:.1e} apart (tolerance {SHORT_TYPE_TOLERANCE:g})")
                self.assertLessEqual(apart, SHORT_TYPE_TOLERANCE)
                self.assertLess(losses[-1], losses[0])

    def test_resumes_bit_for_bit_and_on_other_meshes(self):
        saving = ["--checkpoint-interval", 4]
        whole = self.train("never-stopped", 2, 2, *saving)
        self.train("stopped", 2, 2, "--steps", 4, *saving)
        self.assertEqual(self.train("stopped", 2, 2, *saving), whole)
        weights = self.weights_of("never-stopped")
        self.assertEqual({name: tensor.shape for name, tensor in weights.items()},
                         {"w1.weight": (HIDDEN_DIM, DIM), "w2.weight": (DIM, HIDDEN_DIM), "w3.weight": (HIDDEN_DIM, DIM)})
        self.expect_equal(self.weights_of("stopped"), weights)
        for dp, tp in [(1, 4), (4, 1)]:
            # Nothing is left to train, so that what was loaded is saved again as it is.
            name = f"moved-{dp}x{tp}"
            self.run_ours(name, dp, tp, "--batch-size", 16 // dp, "--resume", self.checkpoint_of("never-stopped"), *saving)
            self.expect_equal(self.weights_of(name), weights)

    def checkpoint_of(self, name: str) -> pathlib.Path:
        return self.root / "runs" / name / "checkpoints" / f"step-{STEPS}"

    def weights_of(self, name: str) -> dict[str, numpy.ndarray]:
        return load_file(next(self.checkpoint_of(name).glob("*.safetensors")))

    def expect_equal(self, ours: dict[str, numpy.ndarray], theirs: dict[str, numpy.ndarray]) -> None:
        self.assertEqual(ours.keys(), theirs.keys())
        for name, tensor in ours.items():
            self.assertEqual(tensor.tobytes(), theirs[name].tobytes(), name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
