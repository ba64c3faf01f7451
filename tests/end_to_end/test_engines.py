"""Training under the launchers themselves: torchrun with two agents, Open MPI's mpirun. All give the losses of a plain run, bit for bit.

MESHPLAN names the program, TORCHRUN torchrun.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import ranks
from launchers import without_launchers

TORCHRUN = os.environ["TORCHRUN"]
STEPS = 8


class Engines(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.folder.name)
        ranks.write_inputs(cls.root)
        plain = ranks.train(cls.root, "plain", 2, 2, "--steps", STEPS)
        assert plain.codes == [0] * 4, plain.said
        cls.losses = plain.losses()
        assert len(cls.losses) == STEPS

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def start(self, command: list, **variables: str) -> subprocess.Popen:
        process = subprocess.Popen(list(map(str, command)), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   env=without_launchers() | variables, start_new_session=True)
        self.addCleanup(self.end, process)
        return process

    def end(self, process: subprocess.Popen) -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def flags(self, name: str, *more) -> list[str]:
        steps = [] if "--steps" in more else ["--steps", STEPS]
        return [ranks.MESHPLAN, *ranks.flags(self.root, name, 2, 2, *steps, *more)]

    def check_losses(self, name: str) -> None:
        run = self.root / "runs" / name
        measured = [float(m) for m in self.values(run / "metrics.jsonl", "loss")]
        largest = max(abs(a - b) for a, b in zip(measured, self.losses, strict=True))
        print(f"{name}: largest difference to the plain run's losses {largest}, tolerance 0")
        self.assertEqual(measured, self.losses)

    def values(self, file: pathlib.Path, key: str) -> list:
        return [json.loads(line)[key] for line in file.read_text().splitlines()]

    def agents(self, name: str, *more, restarts: int = 0) -> list[subprocess.Popen]:
        """Two of torchrun's agents, each with two ranks."""
        rendezvous = ["--nnodes", 2, "--nproc-per-node", 2, "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{ranks.free_port()}",
                      "--rdzv-id", name, "--local-addr", "127.0.0.1", "--max-restarts", restarts, "--no-python"]
        return [self.start([TORCHRUN, *rendezvous, *self.flags(name, *more)]) for _ in range(2)]

    def finish(self, processes: list[subprocess.Popen], timeout: float = 180) -> list[str]:
        said = [process.communicate(timeout=timeout)[0] for process in processes]
        self.assertEqual([process.returncode for process in processes], [0] * len(processes), "\n".join(said))
        return said

    def rank_process(self, name: str, number: int) -> int:
        """The pid of a rank, once it runs."""
        for _ in range(1200):
            for entry in pathlib.Path("/proc").glob("[0-9]*"):
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    variables = (entry / "environ").read_bytes().split(b"\0")
                except OSError:
                    continue
                if words[0].endswith(b"meshplan-train") and any(word.endswith(f"/{name}".encode()) for word in words) and \
                        f"RANK={number}".encode() in variables:
                    return int(entry.name)
            time.sleep(0.1)
        self.fail(f"no rank {number} of {name}")

    def wait_for_checkpoint(self, name: str) -> None:
        for _ in range(1200):
            if any(p.name[5:].isdigit() for p in (self.root / "runs" / name).glob("checkpoints/step-*")):
                return
            time.sleep(0.05)
        self.fail("no checkpoint was written")

    def test_two_agents_of_torchrun_with_two_ranks_each(self):
        said = "".join(self.finish(self.agents("agents")))
        self.assertIn("launch: rank 0 of 4 by torchrun, 2 a node; the ranks meet at torchrun's agent, ", said)
        self.check_losses("agents")

    def test_a_killed_rank_is_started_again_by_torchrun_and_goes_on(self):
        agents = self.agents("restarted", "--checkpoint-interval", 2, "--steps", 200, restarts=3)
        self.wait_for_checkpoint("restarted")
        os.kill(self.rank_process("restarted", 3), signal.SIGKILL)
        said = "".join(self.finish(agents))
        self.assertIn("resuming after step ", said)
        whole = ranks.train(self.root, "never killed", 2, 2, "--steps", 200)
        run = self.root / "runs" / "restarted"
        self.assertEqual(self.values(run / "metrics.jsonl", "step"), list(range(200)))
        self.assertEqual(self.values(run / "metrics.jsonl", "loss"), whole.losses())

    def test_two_nodes_that_meshplan_starts_the_ranks_of(self):
        port = ranks.free_port()
        nodes = [self.start([*self.flags("nodes"), "--nnodes", 2, "--node-rank", node, "--master-addr", "127.0.0.1", "--master-port",
                             port]) for node in range(2)]
        self.finish(nodes)
        self.check_losses("nodes")

    def test_the_message_of_the_rank_that_fails_is_torchruns_root_cause(self):
        agent = self.start([TORCHRUN, "--standalone", "--nproc-per-node", 2, "--no-python", *self.flags("too-few")])
        said = agent.communicate(timeout=120)[0]
        self.assertNotEqual(agent.returncode, 0)
        root_cause = said[said.index("Root Cause"):]
        self.assertIn("torchrun started 2 ranks (WORLD_SIZE=2): must equal the plan's", root_cause)

    @unittest.skipUnless(shutil.which("mpirun"), "left out: mpirun is not installed (Debian: openmpi-bin)")
    def test_mpirun_with_four_ranks_that_no_master_is_named_to(self):
        # Also with what an earlier start has left: a place that nobody is at.
        folder = self.root / "runs" / "mpirun"
        folder.mkdir(parents=True)
        (folder / "meeting.json").write_text('{"addresses": ["127.0.0.1"], "port": 1, "nonce": "stale"}')
        job = self.start(["mpirun", "-np", 4, "--oversubscribe", *self.flags("mpirun")], OMPI_ALLOW_RUN_AS_ROOT="1",
                         OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
        said = self.finish([job])[0]
        self.assertIn("launch: rank 0 of 4 by Open MPI, 4 a node; the ranks meet at a place that rank 0 publishes", said)
        self.check_losses("mpirun")
        self.assertFalse((folder / "meeting.json").exists())

    def srun(self, name: str, *more, **variables: str) -> list[subprocess.Popen]:
        """What srun starts; both of its \"nodes\" are this machine. Slurm itself is in test_submit*."""
        step = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_STEP_NODELIST": "localhost,other",
                "SLURM_STEP_ID": "0", "SLURM_JOB_ID": str(ranks.free_port())} | variables
        return [self.start(self.flags(name, *more), SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank % 2), SLURM_NODEID=str(rank // 2),
                           **step) for rank in range(4)]

    def test_the_variables_of_srun(self):
        said = "".join(self.finish(self.srun("srun")))
        self.assertIn("launch: rank 0 of 4 by Slurm, 2 a node; the ranks meet at localhost:", said)
        self.check_losses("srun")

    def test_sigusr1_saves_and_puts_the_slurm_job_back_into_the_queue(self):
        programs = self.root / "programs"
        programs.mkdir()
        (programs / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {self.root}/scontrol.log\n')
        (programs / "scontrol").chmod(0o755)
        path = f"{programs}:{os.environ['PATH']}"
        job = self.srun("requeued", "--steps", 100000, "--checkpoint-interval", 10, SLURM_JOB_ID="4711", PATH=path)
        self.wait_for_checkpoint("requeued")
        for rank in job:
            rank.send_signal(signal.SIGUSR1)
        said = "".join(self.finish(job))
        self.assertIn("Slurm job 4711 is requeued", said)
        self.assertEqual((self.root / "scontrol.log").read_text(), "requeue 4711\n")
        done = len(self.values(self.root / "runs" / "requeued" / "metrics.jsonl", "loss"))
        said = "".join(self.finish(self.srun("requeued", "--steps", done + 3, SLURM_JOB_ID="4711", SLURM_RESTART_COUNT="1")))
        self.assertIn(f"resuming after step {done}", said)


if __name__ == "__main__":
    unittest.main(verbosity=2)
