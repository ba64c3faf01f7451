"""Every wrong environment ends within its time limit, with one message that names the cause, and exit code 3 or 8.

MESHPLAN names the program. docs/launching.md states the limits.
"""
import pathlib
import socket
import subprocess
import tempfile
import time
import unittest

import ranks
from launchers import without_launchers

INVALID_INPUT, RANK_LOST = 3, 8
# What a busy machine needs to load the programs, beside the limit.
MARGIN_S = 60
# --rendezvous-timeout of these tests; 120 unless it is given.
TIMEOUT_S = 3


class WrongEnvironments(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.folder.name)
        ranks.write_inputs(cls.root)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def start(self, name: str, variables: dict, *more) -> subprocess.Popen:
        command = [ranks.MESHPLAN, *ranks.flags(self.root, name, 2, 2, "--steps", 2, "--rendezvous-timeout", TIMEOUT_S, *more)]
        return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env=without_launchers() | {key: str(value) for key, value in variables.items()})

    def place(self, rank: int, port: int, local: int = 4, **more) -> dict:
        return {"RANK": rank, "WORLD_SIZE": 4, "LOCAL_RANK": rank % local, "LOCAL_WORLD_SIZE": local, "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port} | more

    def expect(self, processes: list[subprocess.Popen], code: int, limit_s: float, *words: str) -> None:
        """Each process ends with the code, in time, and says one line beside the plan's announcement, with all the words."""
        start = time.monotonic()
        for process in processes:
            try:
                _, said = process.communicate(timeout=limit_s + MARGIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                self.fail(f"did not end within {limit_s} s: {process.communicate()}")
            self.assertEqual(process.returncode, code, said)
            lines = [line for line in said.splitlines() if not line.startswith(("meshplan train: qwen2 on", "meshplan train: model on",
                                                                               "launch: ", "meshplan train: warning"))]
            self.assertEqual(len(lines), 1, said)
            for word in words:
                self.assertIn(word, lines[0])
        print(f"{self.id().rsplit('.')[-1]}: {time.monotonic() - start:.1f} s, limit {limit_s} s; {lines[0]}")

    def test_rank_without_world_size(self):
        self.expect([self.start("half", {"RANK": 0})], INVALID_INPUT, 1, "RANK set without WORLD_SIZE, LOCAL_RANK")

    def test_world_size_that_the_plan_does_not_have(self):
        place = self.place(0, 2900) | {"WORLD_SIZE": 8, "LOCAL_WORLD_SIZE": 8}
        self.expect([self.start("world", place)], INVALID_INPUT, 1, "started 8 ranks (WORLD_SIZE=8): must equal the plan's", "= 4")

    def test_two_launchers_at_once(self):
        variables = self.place(1, 2900) | {"OMPI_COMM_WORLD_RANK": 2, "OMPI_COMM_WORLD_SIZE": 4, "OMPI_COMM_WORLD_LOCAL_RANK": 2,
                                           "OMPI_COMM_WORLD_LOCAL_SIZE": 4}
        self.expect([self.start("two", variables)], INVALID_INPUT, 1, "two launchers claim this process", "rank 1 of 4",
                    "Open MPI says rank 2 of 4", "--launcher environment")

    def test_unreachable_master(self):
        # 192.0.2.0/24 is nobody's (RFC 5737).
        for host, problem in (("192.0.2.1", "found no store at 192.0.2.1:2900"), ("no-such-host.invalid", "no address of")):
            self.expect([self.start("unreachable", self.place(3, 2900, 2, MASTER_ADDR=host))], RANK_LOST, TIMEOUT_S, problem,
                        "check MASTER_ADDR and MASTER_PORT")

    def test_port_taken(self):
        with socket.socket() as taken:
            taken.bind(("0.0.0.0", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.expect([self.start("taken", self.place(0, port))], INVALID_INPUT, 1, f"cannot serve the store at 127.0.0.1:{port}",
                        "the port is taken", "use a free MASTER_PORT")
            self.expect([self.start("taken", self.place(1, port))], RANK_LOST, TIMEOUT_S, "something else than a store answers there")

    def test_a_node_that_never_comes(self):
        port = ranks.free_port()
        first_node = [self.start("absent", self.place(rank, port, 2)) for rank in (0, 1)]
        self.expect(first_node[:1], RANK_LOST, TIMEOUT_S, "rank 0 of 4 waited in vain", "for ranks 2, 3 on node 1")
        # Rank 0 may have taken the store with it.
        self.expect(first_node[1:], RANK_LOST, TIMEOUT_S, "rank 1 of 4")

    def test_a_pod_whose_rank_is_not_said(self):
        self.expect([self.start("pod", {"PET_NNODES": 2, "PET_MASTER_ADDR": "job-node-0-0"})], INVALID_INPUT, 1,
                    "2 nodes, but PET_NODE_RANK is not set")

    def test_a_step_of_srun_with_different_nodes(self):
        step = {"SLURM_PROCID": 0, "SLURM_LOCALID": 0, "SLURM_STEP_NUM_TASKS": 4, "SLURM_STEP_TASKS_PER_NODE": "3,1",
                "SLURM_STEP_NODELIST": "n[1-2]", "SLURM_STEP_ID": 0, "SLURM_JOB_ID": 7}
        self.expect([self.start("uneven", step)], INVALID_INPUT, 1, "SLURM_STEP_TASKS_PER_NODE=3,1", "srun --ntasks-per-node")


if __name__ == "__main__":
    unittest.main(verbosity=2)
