"""Checkpoints of the whole program on real ranks: exact resumption, other meshes, damage, signals, and the readers of others.

MESHPLAN names the program.
"""
import json
import pathlib
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import ranks
from ranks import MESHPLAN, Run, hashes, train

IO, CORRUPT, INVALID_INPUT = 5, 6, 3
MESHES = [(1, 1), (2, 2), (4, 1), (1, 4)]


def meshplan(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([MESHPLAN, *map(str, arguments)], capture_output=True, text=True, timeout=60)


def flip_bit(path: pathlib.Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)


class Checkpoints(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.folder.name)
        ranks.write_inputs(cls.root)
        cls.whole = cls.succeed(cls, "whole", 2, 2, "--steps", 16, "--checkpoint-interval", 6)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def succeed(self, *arguments, **options) -> Run:
        run = train(self.root, *arguments, **options)
        if any(run.codes):
            raise AssertionError(f"{run.codes}\n" + "\n".join(run.said))
        return run

    def copy_of_whole(self, name: str) -> pathlib.Path:
        """Of its run folder after 12 of 16 steps, so that training can go on."""
        copy = self.root / "runs" / name
        shutil.copytree(self.whole.folder, copy)
        shutil.rmtree(copy / "checkpoints" / "step-16")
        return copy

    def expect_refused(self, run: Run, code: int, *words: str) -> None:
        self.assertIn(code, run.codes, "\n".join(run.said))
        said = run.said[run.codes.index(code)]
        for word in words:
            self.assertIn(word, said)

    def test_resumes_in_the_middle_of_an_epoch_bit_for_bit(self):
        for name, more in [("cut", []), ("cut-async", ["--async-checkpoint"]), ("cut-merged", ["--checkpoint-files", "merged"]),
                           ("cut-per-rank", ["--checkpoint-files", "per-rank"])]:
            with self.subTest(name):
                self.succeed(name, 2, 2, "--steps", 7, "--checkpoint-interval", 3, *more)
                resumed = self.succeed(name, 2, 2, "--steps", 16, "--checkpoint-interval", 6, *more)
                self.assertEqual(resumed.losses(), self.whole.losses())
                self.assertEqual([m["step"] for m in resumed.metrics()], list(range(16)))
                if name != "cut-per-rank":
                    self.assertEqual(hashes(resumed.checkpoint(16)), hashes(self.whole.checkpoint(16)))

    def test_is_the_same_on_every_mesh_that_it_is_resumed_on(self):
        written = {}
        for dp, tp in MESHES:
            written[dp, tp] = self.succeed(f"from-{dp}x{tp}", dp, tp, "--steps", 3, "--checkpoint-interval", 3).checkpoint(3)
        for source, checkpoint in written.items():
            for dp, tp in (mesh for mesh in MESHES if mesh != source):
                # Nothing is left to train, so that what was loaded is saved again as it is.
                name = "{}x{}-on-{}x{}".format(*source, dp, tp)
                again = self.succeed(name, dp, tp, "--steps", 3, "--checkpoint-interval", 3, "--resume", checkpoint)
                with self.subTest(name):
                    self.assertEqual(len(hashes(checkpoint)), 3)
                    self.assertEqual(hashes(again.checkpoint(3)), hashes(checkpoint))

    def test_goes_on_with_the_same_samples_on_another_mesh(self):
        resumed = self.succeed("other-mesh", 1, 4, "--steps", 16, "--checkpoint-interval", 16, "--resume", self.whole.checkpoint(6))
        largest = max(abs(a / b - 1) for a, b in zip(resumed.losses(), self.whole.losses()[6:], strict=True))
        print(f"losses after resuming on 1 x 4 what 2 x 2 wrote: {largest:.1e} apart at most, tolerance 1e-5")
        self.assertLess(largest, 1e-5)

    def test_starts_from_the_same_parameters_on_every_mesh(self):
        # An update with the learning rate 0 changes no parameter.
        once = ["--steps", 1, "--checkpoint-interval", 1, "--learning-rate", 0]
        for kind, more in [("random", []), ("weights", ["--init", "weights", "--model", self.whole.checkpoint(6)])]:
            first = [hashes(self.succeed(f"{kind}-{dp}x{tp}", dp, tp, *once, *more).checkpoint(1), "*.safetensors")
                     for dp, tp in MESHES]
            with self.subTest(kind):
                self.assertEqual(first, [first[0]] * len(MESHES))
                if kind == "weights":
                    self.assertEqual(first[0], hashes(self.whole.checkpoint(6), "*.safetensors"))

    def test_refuses_a_damaged_checkpoint_and_offers_the_one_before(self):
        newest = self.copy_of_whole("damaged") / "checkpoints" / "step-12"
        previous = newest.parent / "step-6"
        intact = self.root / "intact"
        shutil.copytree(newest, intact)
        weights = "model-00001-of-00001.safetensors"
        damages = [(weights, lambda p: flip_bit(p, -5)), (weights, lambda p: flip_bit(p, 20)),
                   ("optimizer/second_moment/" + weights, lambda p: flip_bit(p, -10000)),
                   ("optimizer/first_moment/" + weights, lambda p: p.write_bytes(p.read_bytes()[:-1])),
                   (weights, lambda p: p.unlink()), ("manifest.json", lambda p: flip_bit(p, -60)), ("manifest.json", lambda p: p.unlink()),
                   ("manifest.json", lambda p: flip_bit(p, 12)), ("metadata.json", lambda p: flip_bit(p, 40)),
                   ("config.json", lambda p: flip_bit(p, 30))]
        for number, (file, damage) in enumerate(damages):
            with self.subTest(file=file, number=number):
                damage(newest / file)
                verified = meshplan("checkpoint", "verify", newest)
                self.assertEqual(verified.returncode, CORRUPT, verified.stdout)
                self.assertIn(str(newest / file), verified.stdout)
                run = train(self.root, "damaged", *((2, 2) if number < 3 else (1, 1)), "--steps", 16, "--checkpoint-interval", 6)
                self.expect_refused(run, CORRUPT, str(newest / file), f"--resume {previous}")
                self.assertTrue(previous.exists())
            shutil.rmtree(newest)
            shutil.copytree(intact, newest)
        flip_bit(newest / weights, -5)
        resumed = self.succeed("damaged", 2, 2, "--steps", 16, "--checkpoint-interval", 8, "--resume", previous)
        self.assertEqual(resumed.losses(), self.whole.losses())
        self.assertEqual(resumed.steps(), [6, 8, 16], "the damaged one of the abandoned steps is set aside")

    def test_takes_no_notice_of_an_unfinished_checkpoint(self):
        checkpoints = self.copy_of_whole("unfinished") / "checkpoints"
        shutil.copytree(checkpoints / "step-12", checkpoints / "step-14.tmp-0123456789abcdef")
        resumed = self.succeed("unfinished", 2, 2, "--steps", 16, "--checkpoint-interval", 6)
        self.assertIn("resuming after step 12", resumed.said[0])
        self.assertEqual(resumed.losses(), self.whole.losses())
        self.assertEqual([p.name for p in checkpoints.glob("*tmp*")], [], "what an interrupted save left is removed")

    def test_refuses_another_model_and_another_seed(self):
        ranks.write_inputs(self.root / "wide", intermediate_size=128)
        checkpoint = self.whole.checkpoint(6)
        self.expect_refused(train(self.root, "wide", 1, 1, "--model", self.root / "wide" / "model", "--resume", checkpoint), INVALID_INPUT,
                            "shape")
        self.expect_refused(train(self.root, "seed", 1, 1, "--seed", 1, "--resume", checkpoint), INVALID_INPUT, "--seed 42")
        self.expect_refused(train(self.root, "nothing", 1, 1, "--resume", self.root / "nowhere"), INVALID_INPUT, "nowhere")

    def test_stops_on_a_signal_to_one_rank_at_one_step_and_goes_on_exactly(self):
        for sent in (signal.SIGTERM, signal.SIGUSR1):
            name = f"signal-{sent.name}"
            with Run(self.root, name, 2, 2, "--steps", 100000) as run:
                deadline = time.monotonic() + 60
                while len(run.metrics()) < 5:
                    self.assertLess(time.monotonic(), deadline, "training did not start")
                    time.sleep(0.05)
                run.ranks[2].send_signal(sent)
                begin = time.monotonic()
                run.wait(30)
            seconds = time.monotonic() - begin
            print(f"{sent.name}: all ranks ended after {seconds:.2f} s, after step {run.steps()}")
            self.assertEqual(run.codes, [0] * 4, "\n".join(run.said))
            self.assertLess(seconds, 30)
            self.assertEqual(run.steps(), [len(run.metrics())])
            steps = run.steps()[0]
            resumed = self.succeed(name, 2, 2, "--steps", steps + 3)
            straight = self.succeed(f"{name}-straight", 2, 2, "--steps", steps + 3)
            self.assertEqual(resumed.losses(), straight.losses())

    def test_saves_when_the_command_itself_is_told_to_stop(self):
        for sent in (signal.SIGTERM, signal.SIGUSR1):
            name = f"command-{sent.name}"
            started = subprocess.Popen([MESHPLAN, *ranks.flags(self.root, name, 2, 2, "--steps", 100000)], stderr=subprocess.PIPE, text=True)
            metrics = self.root / "runs" / name / "metrics.jsonl"
            deadline = time.monotonic() + 60
            while not (metrics.exists() and metrics.read_text().count("\n") > 5):
                self.assertLess(time.monotonic(), deadline, "training did not start")
                time.sleep(0.1)
            started.send_signal(sent)
            _, errors = started.communicate(timeout=60)
            self.assertEqual(started.returncode, 130, errors)
            self.assertIn("which is saved", errors)
            listed = json.loads(meshplan("checkpoint", "list", self.root / "runs" / name, "--json").stdout)
            self.assertEqual([c["step"] for c in listed["checkpoints"]], [metrics.read_text().count("\n")])

    def test_a_failed_save_is_an_error_and_leaves_the_older_checkpoints(self):
        checkpoints = self.copy_of_whole("full-disk") / "checkpoints"

        def limit_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))

        for more in [], ["--async-checkpoint"]:
            run = train(self.root, "full-disk", 2, 2, "--steps", 16, "--checkpoint-interval", 2, "--keep-latest-k", 2, *more,
                        preexec=limit_files)
            self.expect_refused(run, IO, "safetensors", "File too large")
            self.assertEqual(sorted(p.name for p in checkpoints.iterdir()), ["LATEST", "step-12", "step-6"])
        self.succeed("full-disk", 2, 2, "--steps", 16, "--checkpoint-interval", 16)

    def test_keeps_the_newest(self):
        run = self.succeed("kept", 2, 1, "--steps", 9, "--checkpoint-interval", 2, "--keep-latest-k", 3)
        self.assertEqual(run.steps(), [6, 8, 9])
        self.assertEqual((run.folder / "checkpoints" / "LATEST").read_text(), "step-9\n")
        self.assertEqual(len(list((run.folder / "checkpoints").iterdir())), 4)

    def test_saves_at_the_end_of_each_epoch(self):
        run = self.succeed("epochs", 2, 1, "--num-epochs", 2, batch=8)
        self.assertEqual(run.steps(), [6, 12])
        again = self.succeed("epochs", 2, 1, "--num-epochs", 3, batch=8)
        straight = self.succeed("epochs-straight", 2, 1, "--num-epochs", 3, batch=8)
        self.assertEqual(again.losses(), straight.losses())

    def test_exports_what_ranks_wrote_apart_and_in_another_type(self):
        import torch
        from safetensors.torch import load_file
        apart = self.succeed("apart", 2, 2, "--steps", 6, "--checkpoint-files", "per-rank", "--checkpoint-interval", 6)
        self.assertEqual(sorted(hashes(apart.checkpoint(6))), [f"ranks/rank-{r:05}.safetensors" for r in range(4)])
        out = self.root / "exported"
        self.assertEqual(meshplan("checkpoint", "export", apart.folder, "-o", out).returncode, 0)
        self.assertEqual(hashes(out), hashes(self.whole.checkpoint(6), "*.safetensors"))
        self.assertEqual(meshplan("checkpoint", "export", apart.folder, "-o", out).returncode, INVALID_INPUT, "it is not empty")
        exact = load_file(out / "model-00001-of-00001.safetensors")
        for name, dtype in [("bfloat16", torch.bfloat16), ("float16", torch.float16)]:
            narrow = self.root / name
            self.assertEqual(meshplan("checkpoint", "export", apart.checkpoint(6), "-o", narrow, "--dtype", name).returncode, 0)
            rounded = load_file(narrow / "model-00001-of-00001.safetensors")
            self.assertEqual(set(rounded), set(exact))
            for tensor, values in exact.items():
                self.assertTrue(torch.equal(rounded[tensor], values.to(dtype)), tensor)

    def test_is_a_model_folder_for_transformers_and_for_torchs_reader(self):
        import torch
        import torch.distributed.checkpoint as dcp
        import transformers
        from safetensors.torch import load_file
        narrow = self.succeed("narrow", 2, 2, "--steps", 2, "--checkpoint-interval", 2, "--param-dtype", "bfloat16").checkpoint(2)
        masters = load_file(narrow / "optimizer" / "master" / "model-00001-of-00001.safetensors")
        for folder, dtype in [(self.whole.checkpoint(16), torch.float32), (narrow, torch.bfloat16)]:
            stored = load_file(folder / "model-00001-of-00001.safetensors")
            if dtype == torch.bfloat16:
                self.assertTrue(all(torch.equal(v, masters[k].to(dtype)) for k, v in stored.items()))
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
            self.assertEqual(model.dtype, dtype)
            state = model.state_dict()
            self.assertEqual(set(state), set(stored))
            self.assertTrue(all(torch.equal(state[k], v) for k, v in stored.items()))
            read = {k: torch.zeros_like(v) for k, v in stored.items()}
            dcp.load(read, storage_reader=dcp.HuggingFaceStorageReader(str(folder)), no_dist=True)
            self.assertTrue(all(torch.equal(read[k], v) for k, v in stored.items()))

    def test_lists_and_verifies(self):
        listed = meshplan("checkpoint", "list", self.whole.folder)
        self.assertEqual(listed.returncode, 0)
        self.assertIn("dp_shard 2 x tp 2", listed.stdout)
        verified = json.loads(meshplan("checkpoint", "verify", self.whole.folder, "--json").stdout)
        self.assertEqual([(c["step"], c["valid"]) for c in verified["checkpoints"]], [(6, True), (12, True), (16, True)])
        self.assertEqual(meshplan("checkpoint", "list", self.root).returncode, INVALID_INPUT)
        self.assertEqual(meshplan("checkpoint").returncode, 2)


if __name__ == "__main__":
    unittest.main()
