#!/usr/bin/env python3
"""Trains the same job with meshplan and with its peer (PyTorch's FSDP2 x DTensor tensor parallelism), step by step, and compares.

    tests/parity/parity.py --meshplan build/release/bin/meshplan --work build/parity

Every case is a model family, tied or untied embeddings, and a mesh dp x tp; both run on CPU over Gloo, in float32. Prints the largest
relative difference of loss and gradient norm over the steps of each case and ends with exit code 1 when one is beyond the tolerance.
Checked beside it: the memory peak against the plan's (compare's own figure), and the collectives one by one.
"""
import argparse
import itertools
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PEERS = HERE.parent / "peers"
TOLERANCE = 1e-5
MEMORY_TOLERANCE = 0.05
MESHES = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (1, 4)]


def run(command: list[str], log: pathlib.Path, attempts: int = 1, deadline: float = 300) -> str:
    """The command's standard output; its standard error goes to the log, which is shown when it fails."""
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    for attempt in range(attempts):
        with open(log, "w") as errors:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=deadline, env=environment)
        if done.returncode == 0:
            break
        print(f"attempt {attempt + 1} of {attempts} ended with {done.returncode}; see {log}", file=sys.stderr)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}:\n{log.read_text()[-3000:]}")
    return done.stdout


def make_inputs(work: pathlib.Path, family: str, tied: bool) -> pathlib.Path:
    inputs = work / f"{family}-{'tied' if tied else 'untied'}"
    if not (inputs / "data.idx").exists():
        command = [sys.executable, str(PEERS / "make_inputs.py"), "--out", str(inputs), "--family", family]
        run(command + (["--tie-embeddings"] if tied else []), work / "inputs.log")
    return inputs


def peer_steps(inputs: pathlib.Path, dp: int, tp: int, steps: int, as_is: bool) -> list[dict]:
    program = PEERS / "fsdp2_tp_reference.py" if as_is else HERE / "peer_with_exact_norm.py"
    kept = inputs / f"peer-{dp}x{tp}-{steps}{'-as-is' if as_is else ''}.jsonl"
    if not kept.exists():
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={dp * tp}", str(program),
                   "--model", str(inputs / "model"), "--data", str(inputs / "data"), "--dp", str(dp), "--tp", str(tp),
                   "--steps", str(steps), "--grad-norm"]
        # Over Gloo the peer aborts now and then as Python ends ("terminate called without an active exception").
        kept.write_text(run(command, inputs / f"peer-{dp}x{tp}.log", attempts=3))
    return [json.loads(line) for line in kept.read_text().splitlines() if '"step"' in line]


def our_steps(meshplan: str, inputs: pathlib.Path, dp: int, tp: int, steps: int) -> tuple[list[dict], dict]:
    name = f"ours-{dp}x{tp}"
    command = [meshplan, "train", "--model", str(inputs / "model"), "--data", str(inputs / "data"), "--dp-size", str(dp), "--tp-size",
               str(tp), "--num-workers", str(dp * tp), "--seq-length", "128", "--batch-size", "2", "--learning-rate", "1e-3",
               "--weight-decay", "0.01", "--seed", "42", "--steps", str(steps), "--param-dtype", "float32", "--loss-normalization",
               "per_rank", "--storage-path", str(inputs), "--experiment-name", name]
    run(command, inputs / f"{name}.log")
    folder = inputs / name
    comparison = run([meshplan, "compare", str(folder / "plan.json"), str(folder), "--json"], inputs / f"{name}-compare.log")
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()], json.loads(comparison)


def largest_difference(ours: list[dict], peer: list[dict], key: str) -> float:
    return max(abs(a[key] - b[key]) / abs(b[key]) for a, b in zip(ours, peer, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meshplan", required=True, help="the program")
    parser.add_argument("--work", type=pathlib.Path, required=True, help="folder for inputs and runs, kept between calls")
    parser.add_argument("--families", nargs="+", default=["qwen2", "llama"])
    parser.add_argument("--meshes", nargs="+", default=[f"{dp}x{tp}" for dp, tp in MESHES], help="dp x tp, as 2x2")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--as-is", action="store_true", help="the peer's own float32 norm, which is off by 1e-4, only printed")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)

    failed = False
    print(f"{'case':<20} {'loss':>9} {'norm':>9} {'memory':>8}  collectives   (tolerance {TOLERANCE:g})")
    for family, tied, mesh in itertools.product(args.families, (False, True), args.meshes):
        dp, tp = (int(size) for size in mesh.split("x"))
        inputs = make_inputs(args.work, family, tied)
        # The peer does not reduce the gradients of qwen3's q and k norms over tp; its tp = 1 run is the reference.
        peer = peer_steps(inputs, dp, 1 if family == "qwen3" else tp, args.steps, args.as_is)
        ours, comparison = our_steps(args.meshplan, inputs, dp, tp, args.steps)
        loss, norm = largest_difference(ours, peer, "loss"), largest_difference(ours, peer, "grad_norm")
        memory = abs(comparison["memory"]["difference_percent"]) / 100
        same = comparison["collectives"]["equal"]
        case_failed = loss > TOLERANCE or (norm > TOLERANCE and not args.as_is) or memory > MEMORY_TOLERANCE or not same
        failed |= case_failed
        print(f"{family + (' tied ' if tied else ' ') + mesh:<20} {loss:9.1e} {norm:9.1e} {memory:8.2%}  "
              f"{'equal' if same else 'DIFFERENT'}{'   FAILED' if case_failed else ''}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
