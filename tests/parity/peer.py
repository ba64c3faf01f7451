"""What the peer measures: its losses and gradient norms, step by step, for every reference that a set of cases needs."""
import hashlib
import itertools
import json
import pathlib
import sys
from collections.abc import Iterable

from cases import Reference
from ranks import Failed, run_ranks

HERE = pathlib.Path(__file__).resolve().parent
PEERS = HERE.parent / "peers"
STEPS = 20
SEQ_LENGTH = 64
MICROBATCH_SIZE = 2
ATTEMPTS = 4
# Heads and feed-forward are such that tp = 4 divides them. No mesh divides the vocabulary of the first two, nor dp the sizes of units.
SIZES = {"hidden": 64, "layers": 3, "heads": 8, "kv-heads": 4, "intermediate": 160}
VOCABULARY = {"qwen2": 301, "llama": 303, "qwen3": 320, "mistral": 288}


def inputs_of(work: pathlib.Path, reference: Reference) -> pathlib.Path:
    return work / f"{reference.family}-{'tied' if reference.tied else 'untied'}"


def make_inputs(work: pathlib.Path, reference: Reference) -> None:
    """The model's folder and the dataset; kept where they are there. In a process of its own: torch's seed is a global."""
    inputs = inputs_of(work, reference)
    if (inputs / "data.idx").exists():
        return
    sizes = itertools.chain.from_iterable((f"--{name}", str(size)) for name, size in SIZES.items())
    command = [sys.executable, str(PEERS / "make_inputs.py"), "--out", str(inputs), "--family", reference.family, *sizes, "--vocab",
               str(VOCABULARY[reference.family])]
    run_ranks(command + (["--tie-embeddings"] if reference.tied else []), 1, work / f"inputs-{inputs.name}.log", deadline=120)


def fingerprint() -> str:
    """Of everything that the peer's losses follow from, so that a folder's old ones are never taken for new ones."""
    digest = hashlib.sha256(json.dumps([STEPS, SEQ_LENGTH, MICROBATCH_SIZE, SIZES, VOCABULARY]).encode())
    for source in (HERE / "peer_rank.py", PEERS / "fsdp2_tp_reference.py", PEERS / "make_inputs.py"):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def output_of(work: pathlib.Path, reference: Reference) -> pathlib.Path:
    return work / "peer" / f"{reference.name}.jsonl"


def _job(work: pathlib.Path, reference: Reference, attempt: int) -> dict:
    inputs, output = inputs_of(work, reference), output_of(work, reference)
    arguments = {"model": inputs / "model", "data": inputs / "data", "dp": reference.dp, "tp": reference.tp, "steps": STEPS,
                 "seq-length": SEQ_LENGTH, "microbatch-size": MICROBATCH_SIZE, "accumulation": reference.accumulation,
                 "dtype": reference.dtype}
    store = output.with_suffix(f".store{attempt}")
    store.unlink(missing_ok=True)
    flags = itertools.chain.from_iterable((f"--{name}", str(value)) for name, value in arguments.items())
    return {"arguments": [*flags, "--grad-norm"], "store": str(store), "output": str(output)}


def train_references(work: pathlib.Path, references: Iterable[Reference]) -> None:
    """Leaves the output of every reference, in one start of the ranks per world size. What is there already is kept; over Gloo the peer
    aborts now and then, and only what is missing is then run again. Raises Failed when it stays missing."""
    references = sorted(set(references))
    (work / "peer").mkdir(parents=True, exist_ok=True)
    for reference in references:
        make_inputs(work, reference)
    for world_size in sorted({reference.world_size for reference in references}):
        for attempt in range(1, ATTEMPTS + 1):
            missing = [r for r in references if r.world_size == world_size and not output_of(work, r).exists()]
            if not missing:
                break
            jobs = work / "peer" / f"jobs-{world_size}.json"
            jobs.write_text(json.dumps([_job(work, reference, attempt) for reference in missing]))
            print(f"peer: {len(missing)} trainings on {world_size} ranks", file=sys.stderr, flush=True)
            try:
                run_ranks([sys.executable, str(HERE / "peer_rank.py"), str(jobs)], world_size, work / "peer" / f"ranks-{world_size}.log",
                          deadline=120 + 60 * len(missing) * max(1, world_size // 2))
            except Failed as failed:
                print(f"peer, attempt {attempt} of {ATTEMPTS}: {failed}", file=sys.stderr, flush=True)
        else:
            missing = [r.name for r in references if r.world_size == world_size and not output_of(work, r).exists()]
            if missing:
                raise Failed(f"the peer has no losses for {', '.join(missing)}; see {work / 'peer'}")


def steps_of(work: pathlib.Path, reference: Reference) -> list[dict]:
    lines = output_of(work, reference).read_text().splitlines()
    return [step for step in map(json.loads, lines) if "step" in step]
