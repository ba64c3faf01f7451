"""What meshplan measures: one case trained from its command line, and compared with its plan."""
import json
import pathlib
import shutil
import subprocess

import peer
from cases import Case
from ranks import Failed, run_ranks

ATTEMPTS = 2


def _command(meshplan: pathlib.Path, inputs: pathlib.Path, runs: pathlib.Path, case: Case) -> list[str]:
    flags = {
        "model": inputs / "model", "data": inputs / "data", "seq-length": peer.SEQ_LENGTH, "batch-size": peer.MICROBATCH_SIZE,
        "steps": peer.STEPS, "learning-rate": 1e-3, "weight-decay": 0.01, "seed": 42, "loss-normalization": "per_rank",
        "dp-size": case.dp, "dp-replicate": case.dp_replicate, "tp-size": case.tp, "num-workers": case.world_size,
        "sharding": case.strategy, "sequence-parallel": "on" if case.sequence_parallel else "off",
        "activation-checkpointing": case.checkpointing, "accumulation": case.accumulation, "param-dtype": case.dtype,
        "storage-path": runs, "experiment-name": case.name, "log-interval": peer.STEPS,
    }
    return [str(meshplan), "train", *(word for name, value in flags.items() for word in (f"--{name}", str(value)))]


def train(meshplan: pathlib.Path, work: pathlib.Path, case: Case, deadline: float) -> tuple[list[dict], dict]:
    """The steps of the case and what `meshplan compare` says. Raises Failed; the run's folder and logs are kept then."""
    runs = work / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    folder, log = runs / case.name, runs / f"{case.name}.log"
    shutil.rmtree(folder, ignore_errors=True)
    command = _command(meshplan, peer.inputs_of(work, case.reference), runs, case)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            run_ranks(command, case.world_size, log, deadline=deadline)
            break
        except Failed as failed:
            # Another program can have taken the port in between.
            if attempt == ATTEMPTS or "address already in use" not in str(failed).lower():
                raise
    compared = subprocess.run([str(meshplan), "compare", str(folder / "plan.json"), str(folder), "--json"], capture_output=True, text=True,
                              timeout=60)
    if compared.returncode != 0:
        raise Failed(f"compare: {compared.stderr.strip()}")
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return steps, json.loads(compared.stdout)


def clear(work: pathlib.Path, case: Case) -> None:
    """Removes what a case that went well has left."""
    shutil.rmtree(work / "runs" / case.name, ignore_errors=True)
    for rank in range(case.world_size):
        (work / "runs" / f"{case.name}.log.{rank}").unlink(missing_ok=True)
