"""Starts the ranks of a training run without torchrun, on a tiny model with random weights and a dataset of its own.

MESHPLAN names the program.
"""
import hashlib
import json
import os
import pathlib
import random
import socket
import struct
import subprocess

MESHPLAN = os.environ.get("MESHPLAN", "")
CONFIG = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "hidden_size": 32, "intermediate_size": 64,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 255, "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": False, "initializer_range": 0.02,
}


def write_dataset(prefix: pathlib.Path, sequences: list[list[int]]) -> None:
    """A Megatron indexed dataset of int32 tokens."""
    lengths = [len(s) for s in sequences]
    pointers = [4 * sum(lengths[:i]) for i in range(len(lengths))]
    with open(f"{prefix}.bin", "wb") as f:
        f.write(b"".join(struct.pack(f"<{len(s)}i", *s) for s in sequences))
    with open(f"{prefix}.idx", "wb") as f:
        f.write(b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 4, len(sequences), len(sequences) + 1))
        f.write(struct.pack(f"<{len(lengths)}i", *lengths) + struct.pack(f"<{len(pointers)}q", *pointers))
        f.write(struct.pack(f"<{len(lengths) + 1}q", *range(len(lengths) + 1)))


def write_inputs(root: pathlib.Path, sequences: int = 48, **config) -> None:
    """ROOT/model, a config.json alone, and ROOT/data.{bin,idx}."""
    (root / "model").mkdir(parents=True)
    (root / "model" / "config.json").write_text(json.dumps(CONFIG | config))
    numbers = random.Random(0)
    vocabulary = (CONFIG | config)["vocab_size"]
    write_dataset(root / "data", [[numbers.randrange(vocabulary) for _ in range(16)] for _ in range(sequences)])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def flags(root: pathlib.Path, name: str, dp: int, tp: int, *more, batch: int = 4) -> list[str]:
    """Of `meshplan train`, for a global batch of `batch` sequences on any mesh."""
    given = list(map(str, more))
    values = {"--model": root / "model", "--data": root / "data", "--dp-size": dp, "--tp-size": tp, "--seq-length": 16,
              "--batch-size": batch // dp, "--storage-path": root / "runs", "--experiment-name": name, "--learning-rate": 1e-3,
              "--init": "random"}
    return ["train"] + [str(word) for flag in values.items() if flag[0] not in given for word in flag] + given


class Run:
    """The ranks of one run; killed, at the latest, when it is left."""

    def __init__(self, root: pathlib.Path, name: str, dp: int, tp: int, *more, batch: int = 4, preexec=None):
        self.folder = root / "runs" / name
        world, port = dp * tp, free_port()
        self.ranks = [
            subprocess.Popen([MESHPLAN, *flags(root, name, dp, tp, *more, batch=batch)], text=True, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, preexec_fn=preexec,
                             env=os.environ | {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank),
                                               "LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                                               "OMP_NUM_THREADS": "1"})
            for rank in range(world)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for rank in self.ranks:
            if rank.poll() is None:
                rank.kill()
            rank.communicate()

    def wait(self, timeout: float = 120) -> "Run":
        self.said = [rank.communicate(timeout=timeout)[0] for rank in self.ranks]
        self.codes = [rank.returncode for rank in self.ranks]
        return self

    def metrics(self) -> list[dict]:
        path = self.folder / "metrics.jsonl"
        # A rank that was killed may have left half a line.
        return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []

    def losses(self) -> list[float]:
        return [m["loss"] for m in self.metrics()]

    def steps(self) -> list[int]:
        """Of the finished checkpoints."""
        return sorted(int(p.name[5:]) for p in self.folder.glob("checkpoints/step-*") if p.name[5:].isdigit())

    def checkpoint(self, step: int) -> pathlib.Path:
        return self.folder / "checkpoints" / f"step-{step}"


def train(root: pathlib.Path, name: str, dp: int, tp: int, *more, **options) -> Run:
    with Run(root, name, dp, tp, *more, **options) as run:
        return run.wait()


def hashes(checkpoint: pathlib.Path, pattern: str = "**/*.safetensors") -> dict[str, str]:
    """SHA-256 of the checkpoint's files that match, by their paths in it."""
    return {str(p.relative_to(checkpoint)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(checkpoint.glob(pattern))}
