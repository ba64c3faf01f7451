"""A plan of a tiny model on CPU ranks, its losses when plain processes train it, and `meshplan submit` for it."""
import json
import os
import pathlib
import shutil
import subprocess
import time

import ranks

MESHPLAN = ranks.MESHPLAN
STEPS = 30
TRAIN = ["--init", "random", "--learning-rate", "1e-3", "--log-interval", "1000"]


def left_out(what: str, missing: list[str]) -> str | None:
    """Why a test is left out, in words, where programs or rights are missing."""
    missing = [program for program in missing if not shutil.which(program)]
    return f"{what} is left out: {', '.join(missing)} missing; scripts/bootstrap --engines installs them" if missing else None


def wait_until(what, timeout: float = 120):
    deadline = time.monotonic() + timeout
    while not (value := what()):
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.1)
    return value


class Planned:
    """A folder with model, data and plan."""

    def __init__(self, root: pathlib.Path, nodes: int, ranks_per_node: int, tp: int = 2):
        self.root, self.nodes, self.ranks_per_node = root, nodes, ranks_per_node
        self.world = nodes * ranks_per_node
        self.plan = root / "plan.json"
        ranks.write_inputs(root)
        words = ["plan", "--model", root / "model", "--cluster", "local-cpu", "--nodes", nodes, "--gpus-per-node", ranks_per_node,
                 "--seq-length", 16, "--microbatch-size", 1, "--tp", tp, "-o", self.plan]
        ended = subprocess.run([MESHPLAN, *map(str, words)], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr

    def flags(self, name: str, steps: int) -> list[str]:
        return [*TRAIN, "--data", str(self.root / "data"), "--storage-path", str(self.root / "runs"), "--experiment-name", name,
                "--steps", str(steps)]

    def submit(self, target: str, name: str, *more, steps: int = STEPS, **environment) -> dict:
        """What --json says; the job's files lie in ROOT/NAME-job."""
        words = [MESHPLAN, "submit", str(self.plan), "--to", target, *self.flags(name, steps), "-o", str(self.root / f"{name}-job"), "--json",
                 "--env", "OMP_NUM_THREADS=1", *map(str, more)]
        ended = subprocess.run(words, capture_output=True, text=True, env=os.environ | environment, timeout=240)
        assert ended.returncode == 0, ended.stderr + ended.stdout
        return json.loads(ended.stdout)

    def rank(self, rank: int, port: int, words: list[str], before: list[str] = (), local_rank: int | None = None) -> subprocess.Popen:
        """One rank by plain variables, on whichever host the words before it make."""
        place = {"RANK": rank, "WORLD_SIZE": self.world, "LOCAL_RANK": rank % self.ranks_per_node if local_rank is None else local_rank,
                 "LOCAL_WORLD_SIZE": self.ranks_per_node, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
        return subprocess.Popen([*before, MESHPLAN, "train", str(self.plan), *words], text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, env=os.environ | {name: str(value) for name, value in place.items()})

    def plain_losses(self, name: str = "plain", steps: int = STEPS) -> list[float]:
        port = ranks.free_port()
        started = [self.rank(rank, port, self.flags(name, steps)) for rank in range(self.world)]
        try:
            said = [rank.communicate(timeout=400)[0] for rank in started]
        finally:
            for rank in started:
                rank.kill()
        assert [rank.returncode for rank in started] == [0] * self.world, said
        return self.losses(name)

    def metrics(self, name: str) -> list[dict]:
        path = self.root / "runs" / name / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []

    def losses(self, name: str) -> list[float]:
        return [row["loss"] for row in self.metrics(name)]


def processes_with(word: str) -> list[int]:
    """Other processes that have the word in their command line."""
    found = []
    for process in pathlib.Path("/proc").iterdir():
        try:
            if process.name.isdigit() and int(process.name) != os.getpid() and word in (process / "cmdline").read_text():
                found.append(int(process.name))
        except OSError:
            pass
    return found


def descendants(root: int) -> list[int]:
    """The process, and all that it and its children started and did not disown."""
    children: dict[int, list[int]] = {}
    for process in pathlib.Path("/proc").iterdir():
        try:
            if process.name.isdigit():
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(process.name))
        except OSError:
            pass
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found


def largest_difference(a: list[float], b: list[float]) -> float:
    return max((abs(x - y) for x, y in zip(a, b, strict=True)), default=float("inf"))
