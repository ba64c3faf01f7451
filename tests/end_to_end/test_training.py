"""The whole program on real ranks: what a training run leaves behind, and how it ends when something is wrong.

MESHPLAN names the program, MESHPLAN_PEERS the folder with make_inputs.py.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from ranks import write_dataset

MESHPLAN = os.environ["MESHPLAN"]
MAKE_INPUTS = pathlib.Path(os.environ["MESHPLAN_PEERS"]) / "make_inputs.py"
INVALID_INPUT, IO_ERROR, RANK_LOST = 3, 5, 8


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

    def command(self, name: str, *flags: str, data: str | None = "data", model: str = "model", dp: int = 2, tp: int = 2,
                batch: int = 2) -> list[str]:
        source = ["--data", data if data == "synthetic" else str(self.root / data)] if data else []
        return [MESHPLAN, "train", "--model", str(self.root / model), *source, "--dp-size", str(dp), "--tp-size", str(tp),
                "--seq-length", "64", "--batch-size", str(batch), "--storage-path", str(self.root / "runs"), "--experiment-name",
                name, *flags]

    def lines(self, name: str, file: str) -> list[dict]:
        return [json.loads(line) for line in (self.root / "runs" / name / file).read_text().splitlines()]

    def trained(self, name: str, *flags: str, **where) -> str:
        """What the run said."""
        done = self.train(name, *flags, **where)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stderr

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

    def test_gathers_as_far_ahead_as_the_plan_says(self):
        trained = []
        for depth in (1, 0, 2):
            plan, name = self.root / f"ahead-{depth}.json", f"ahead-{depth}"
            subprocess.run([MESHPLAN, "plan", "--model", self.root / "model", "--cluster", "local-cpu", "--gpus-per-node", "4",
                            "--seq-length", "64", "--tp", "2", "--dp-shard", "2", "--microbatch-size", "1", "--accumulation", "2",
                            "--prefetch-depth", str(depth), "-o", plan], capture_output=True, check=True)
            subprocess.run([MESHPLAN, "train", plan, "--data", self.root / "data", "--steps", "2", "--storage-path", self.root / "runs",
                            "--experiment-name", name], capture_output=True, check=True, timeout=120)
            compared = subprocess.run([MESHPLAN, "compare", plan, self.root / "runs" / name, "--json"], capture_output=True, check=True)
            comparison = json.loads(compared.stdout)
            self.assertTrue(comparison["collectives"]["equal"])
            self.assertLess(abs(comparison["memory"]["difference_percent"]), 5)
            trained.append([m["loss"] for m in self.lines(name, "metrics.jsonl")])
        self.assertEqual(trained, 3 * trained[:1])

    def test_looking_at_a_run_does_not_change_it(self):
        self.trained("plain", "--steps", "4", "--learning-rate", "1e-3")
        self.trained("watched", "--steps", "4", "--learning-rate", "1e-3", "--validation-data", str(self.root / "data"),
                     "--validation-interval", "2", "--validation-steps", "3", "--trace-steps", "1-2", "--memory-snapshot", "2")
        plain, watched = self.lines("plain", "metrics.jsonl"), self.lines("watched", "metrics.jsonl")
        for key in ("loss", "grad_norm", "peak_memory_bytes"):
            self.assertEqual([m[key] for m in plain], [m[key] for m in watched], key)
        collectives = [(self.root / "runs" / name / "collectives" / "rank-00003.jsonl").read_bytes() for name in ("plain", "watched")]
        self.assertEqual(*collectives)

        self.assertEqual(["validation_loss" in m for m in watched], [False, True, False, True])
        self.assertLess(abs(watched[3]["validation_loss"] - watched[3]["loss"]), 0.5)
        for m in watched:
            self.assertLess(m["data_wait_share"], 0.5)
            self.assertGreater(m["mfu"], 0)
            self.assertLessEqual(m["memory_active_bytes"], m["peak_memory_bytes"])
            self.assertLessEqual(m["memory_active_bytes"], m["memory_reserved_bytes"])
        run = self.root / "runs" / "watched"
        self.assertEqual(sorted(p.name for p in (run / "traces").glob("step-*")), ["step-1", "step-2"])
        json.loads((run / "traces" / "step-2" / "rank-00003.json").read_text())
        snapshot = json.loads((run / "memory" / "step-2" / "rank-00000.json").read_text())
        self.assertEqual(snapshot["peak_bytes"], watched[2]["peak_memory_bytes"])
        blocks = sum(b["bytes"] * b["count"] for b in snapshot["blocks_at_peak"])
        self.assertEqual(snapshot["held_before_bytes"] + blocks, snapshot["peak_bytes"])
        self.check_curves(run / "tensorboard", watched)

    def check_curves(self, folder: pathlib.Path, metrics: list[dict]) -> None:
        """By TensorBoard's own reader, where it is installed; the bytes are checked in formats_test."""
        self.assertEqual(len(list(folder.glob("*tfevents*"))), 1)
        try:
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        except ImportError:
            return
        events = EventAccumulator(str(folder)).Reload()
        for tag, key in (("train/loss", "loss"), ("validation/loss", "validation_loss")):
            expected = [(m["step"], m[key]) for m in metrics if key in m]
            self.assertEqual([e.step for e in events.Scalars(tag)], [step for step, _ in expected])
            for event, (_, value) in zip(events.Scalars(tag), expected):
                self.assertAlmostEqual(event.value, value, delta=1e-6 * abs(value))

    def test_epochs_end_with_their_average_and_debug_steps_end_them(self):
        said = self.trained("epochs", "--num-epochs", "2", "--debug-steps", "3", "--lr-schedule", "linear", "--learning-rate", "6e-4",
                            "--packing", "on")
        metrics, epochs = self.lines("epochs", "metrics.jsonl"), self.lines("epochs", "epochs.jsonl")
        self.assertEqual([m["epoch"] for m in metrics], [0, 0, 0, 1, 1, 1])
        for i, m in enumerate(metrics):
            self.assertAlmostEqual(m["learning_rate"], (6 - i) * 1e-4)
        for epoch in (0, 1):
            self.assertIn(f"Debug steps finished. Stopping epoch {epoch}.", said)
            average = sum(m["loss"] for m in metrics if m["epoch"] == epoch) / 3
            self.assertAlmostEqual(epochs[epoch]["loss"], average)
            self.assertIn(f"Epoch {epoch} completed. Average loss: {average:.4f}", said)
        self.assertIn("Model initialized with ", said)

    def test_an_epoch_without_a_whole_step_warns_and_goes_on(self):
        write_dataset(self.root / "short", [[1, 2, 3, 4]] * 9)
        said = self.trained("short", "--num-epochs", "2", "--accumulation", "3", data="short")
        for epoch in (0, 1):
            self.assertIn(f"Epoch {epoch} processed zero batches. Skipping checkpoint and continuing.", said)
        self.expect_refused(self.train("steps", "--steps", "1", "--accumulation", "3", data="short"), "Dataloader is empty",
                            "accumulation=3")

    def test_synthetic_data_is_the_same_on_every_mesh(self):
        losses = []
        for dp, tp in ((1, 1), (2, 2), (4, 1)):
            self.trained(f"mesh-{dp}-{tp}", "--steps", "3", "--learning-rate", "1e-3", data="synthetic", dp=dp, tp=tp, batch=4 // dp)
            losses.append([m["loss"] for m in self.lines(f"mesh-{dp}-{tp}", "metrics.jsonl")])
        worst = max(abs(a / b - 1) for other in losses[1:] for a, b in zip(other, losses[0]))
        print(f"largest relative difference between meshes {worst:.1e}, tolerance 1e-5", file=sys.stderr)
        self.assertLess(worst, 1e-5)

    def test_a_local_text_is_tokenized_and_trained_on(self):
        text = self.root / "notes.txt"
        text.write_text("".join(f"line {i} of some notes about meshes and ranks\n" for i in range(60)))
        scripts = pathlib.Path(__file__).resolve().parent.parent.parent / "scripts"
        subprocess.run([sys.executable, scripts / "prepare_data", "--text", text, "--train-tokenizer", "300", "--out",
                        self.root / "first"], check=True, capture_output=True)
        model = self.root / "with-tokenizer"
        shutil.copytree(self.root / "model", model)
        for file in (self.root / "first.tokenizer").iterdir():
            shutil.copy(file, model)
        flags = ("--dataset-name", str(text), "--dataset-percentage", "50", "--num-epochs", "1")
        for name, packing in (("text", "off"), ("packed", "on")):
            self.trained(name, *flags, "--packing", packing, data=None, model="with-tokenizer", dp=1, tp=1)
            self.assertGreater(len(self.lines(name, "metrics.jsonl")), 0)
        self.assertEqual(len(self.lines("text", "metrics.jsonl")), 30 // 2)

    def test_a_hub_name_is_found_in_the_cache_or_its_place_is_named(self):
        home = self.root / "hub-home"
        cache = home / "hub" / "models--owner--tiny"
        snapshot = cache / "snapshots" / ("0123456789" * 4)
        for folder in (cache / "refs", cache / "blobs", snapshot):
            folder.mkdir(parents=True)
        (cache / "refs" / "main").write_text(snapshot.name)
        for file in (self.root / "model").iterdir():
            shutil.copy(file, cache / "blobs")
            (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
        offline = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}

        def train(name: str, *flags: str) -> subprocess.CompletedProcess:
            command = self.command("hub", "--steps", "1", *flags, dp=1, tp=1)
            command[command.index("--model") + 1] = name
            return subprocess.run(command, capture_output=True, text=True, timeout=120, env=offline)

        done = train("owner/tiny")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(self.lines("hub", "metrics.jsonl")), 1)
        missing = train("owner/other")
        self.assertEqual(missing.returncode, IO_ERROR, missing.stderr)
        self.assertIn(str(home / "hub" / "models--owner--other"), missing.stderr)
        (snapshot / "model.safetensors").unlink()
        self.assertEqual(train("owner/tiny").returncode, IO_ERROR, "a part of a model is none")
        self.assertEqual(train("owner/tiny", "--init", "random").returncode, 0, "which needs no weights")

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
