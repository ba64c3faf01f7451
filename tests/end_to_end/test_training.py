"""The whole program on real ranks: what a training run leaves behind, and how it ends when something is wrong.

MESHPLAN names the program, MESHPLAN_PEERS the folder with make_inputs.py.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from ranks import write_dataset

MESHPLAN = os.environ["MESHPLAN"]
MAKE_INPUTS = pathlib.Path(os.environ["MESHPLAN_PEERS"]) / "make_inputs.py"
INVALID_INPUT, RANK_LOST = 3, 8


class Training(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.folder.name)
        subprocess.run([sys.executable, MAKE_INPUTS, "--out", cls.root, "--hidden", "64", "--layers", "2", "--heads", "4",
                        "--kv-heads", "4", "--intermediate", "128", "--vocab", "512"], check=True, capture_output=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def command(self, name: str, *flags: str, data: str = "data", model: str = "model") -> list[str]:
        return [MESHPLAN, "train", "--model", str(self.root / model), "--data", str(self.root / data), "--dp-size", "2", "--tp-size",
                "2", "--seq-length", "64", "--batch-size", "2", "--storage-path", str(self.root / "runs"), "--experiment-name", name,
                *flags]

    def train(self, *args, **kwargs) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(*args, **kwargs), capture_output=True, text=True, timeout=120)

    def expect_refused(self, done: subprocess.CompletedProcess, *words: str) -> None:
        self.assertEqual(done.returncode, INVALID_INPUT, done.stderr)
        last_line = done.stderr.strip().splitlines()[-1]
        for word in words:
            self.assertIn(word, last_line)

    def test_leaves_metrics_collectives_traces_and_summaries_that_agree_with_the_plan(self):
        done = self.train("good", "--steps", "3")
        self.assertEqual(done.returncode, 0, done.stderr)
        run = self.root / "runs" / "good"
        metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual([m["step"] for m in metrics], [0, 1, 2])
        for key in ("epoch", "loss", "grad_norm", "learning_rate", "step_time_s", "tokens_per_second", "peak_memory_bytes"):
            self.assertIn(key, metrics[0])
        for rank in range(4):
            trace = json.loads((run / "traces" / f"rank-{rank:05}.json").read_text())
            tracks = {e["tid"] for e in trace["traceEvents"] if e["ph"] == "X"}
            self.assertEqual(tracks, {0, 1, 2, 3})
        compared = subprocess.run([MESHPLAN, "compare", run / "plan.json", run, "--json"], capture_output=True, text=True, check=True)
        comparison = json.loads(compared.stdout)
        self.assertTrue(comparison["collectives"]["equal"])
        self.assertLess(abs(comparison["memory"]["difference_percent"]), 5)

    def test_names_a_token_beyond_the_vocabulary(self):
        write_dataset(self.root / "beyond", [[1, 2, 3, 4]] * 15 + [[1, 512, 3]])
        self.expect_refused(self.train("beyond", "--num-epochs", "1", data="beyond"), "512", "beyond")

    def test_says_what_to_do_about_an_empty_dataset(self):
        write_dataset(self.root / "empty", [[1, 2, 3]])
        self.expect_refused(self.train("empty", data="empty"), "Dataloader is empty")

    def test_refuses_truncated_weights(self):
        broken = self.root / "broken"
        broken.mkdir()
        (broken / "config.json").write_bytes((self.root / "model" / "config.json").read_bytes())
        weights = (self.root / "model" / "model.safetensors").read_bytes()
        (broken / "model.safetensors").write_bytes(weights[:-100])
        self.expect_refused(self.train("broken", model="broken"), "model.safetensors")

    def test_refuses_weights_of_another_shape(self):
        other = self.root / "other"
        other.mkdir()
        config = json.loads((self.root / "model" / "config.json").read_text())
        (other / "config.json").write_text(json.dumps(config | {"intermediate_size": 256}))
        (other / "model.safetensors").write_bytes((self.root / "model" / "model.safetensors").read_bytes())
        self.expect_refused(self.train("other", model="other"), "model.safetensors", "shape")

    def test_a_rank_that_dies_is_named_and_the_others_stop(self):
        started = subprocess.Popen(self.command("killed", "--num-epochs", "1000"), stderr=subprocess.PIPE, text=True)
        metrics = self.root / "runs" / "killed" / "metrics.jsonl"
        deadline = time.monotonic() + 60
        while not (metrics.exists() and metrics.read_text().count("\n") > 2):
            self.assertLess(time.monotonic(), deadline, "training did not start")
            time.sleep(0.1)
        ranks = self.ranks_below(started.pid)
        self.assertEqual(sorted(ranks), ["0", "1", "2", "3"])
        begin = time.monotonic()
        os.kill(ranks["2"], signal.SIGKILL)
        _, errors = started.communicate(timeout=60)
        self.assertLess(time.monotonic() - begin, 60)
        self.assertEqual(started.returncode, RANK_LOST, errors)
        self.assertIn("rank 2", errors.strip().splitlines()[-1])
        for pid in ranks.values():
            self.assertFalse(pathlib.Path(f"/proc/{pid}").exists(), "a rank outlived the run")

    def ranks_below(self, ancestor: int) -> dict[str, int]:
        """Process ids of the ranks that descend from the process, by rank."""
        children = {}
        for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = status.read_text().rsplit(")", 1)[1].split()
                children.setdefault(int(fields[1]), []).append(int(status.parent.name))
            except OSError:
                continue
        ranks, queue = {}, [ancestor]
        while queue:
            pid = queue.pop()
            queue += children.get(pid, [])
            try:
                if pathlib.Path(f"/proc/{pid}/exe").readlink().name != "meshplan-train":
                    continue
                environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            ranks |= {v[5:].decode(): pid for v in environment if v.startswith(b"RANK=")}
        return ranks


if __name__ == "__main__":
    unittest.main()
