#!/usr/bin/env python3
"""Trains the same jobs with meshplan and with its peer (PyTorch's FSDP2 x DTensor tensor parallelism), step by step, and compares.

    build/venv/bin/python tests/parity/parity.py                 60 cases that have every pair of choices (continuous integration)
    build/venv/bin/python tests/parity/parity.py --full          every combination; goes on where it was stopped
    build/venv/bin/python tests/parity/parity.py --only no_shard qwen3 --list

A case is a sharding strategy, a mesh, sequence parallelism, activation checkpointing, accumulation, a model family, tied or untied
embeddings, and a type. Both train 20 steps of a small model on CPU over Gloo. A case passes when, at every step, the loss and the
gradient norm are within 1e-5 (relative) of the peer's in float32, the loss within 2e-2 in bfloat16; when every rank's collectives are
the plan's, in order; and when the peak of allocated memory is within 2 % of the plan's (what Gloo allocates for itself is another class).

A strategy that the peer lacks is held against its losses on the same mesh; qwen3 with tp against its losses with tp 1, as the peer does
not reduce the gradients of q and k norms over tp. Prints a line a case and ends with exit code 1 when one has failed.
"""
import argparse
import concurrent.futures
import dataclasses
import hashlib
import json
import math
import pathlib
import sys
import time

import cases
import ours
import peer
from cases import Case
from ranks import Failed

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOSS_TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}
NORM_TOLERANCE = {"float32": 1e-5, "bfloat16": math.inf}
MEMORY_TOLERANCE = 0.02
WIDTH = max(len(case.name) for case in cases.all_cases("bfloat16"))


@dataclasses.dataclass
class Result:
    """What a case has shown; differences are relative and the largest over the steps, memory's against the plan."""
    case: str
    passed: bool
    loss: float = math.nan
    norm: float = math.nan
    memory: float = math.nan
    collectives: int = 0
    collectives_equal: bool = False
    communication_bytes: int = 0
    seconds: float = 0
    message: str = ""

    def line(self) -> str:
        if self.message:
            return f"{self.case:<{WIDTH}} FAILED  {self.message}"
        same = "equal" if self.collectives_equal else "DIFFERENT"
        return (f"{self.case:<{WIDTH}} {self.loss:8.1e} {self.norm:8.1e} {self.memory:+8.2%} {self.collectives:5} {same:<9}"
                f"{'' if self.passed else ' FAILED'}")


def heading() -> str:
    return f"{'case':<{WIDTH}} {'loss':>8} {'norm':>8} {'memory':>8} {'collectives':<15}"


def largest_difference(own: list[dict], reference: list[dict], key: str) -> float:
    differences = [abs(a[key] - b[key]) / abs(b[key]) for a, b in zip(own, reference, strict=True)]
    return max(difference if math.isfinite(difference) else math.inf for difference in differences)


def judge(args: argparse.Namespace, work: pathlib.Path, case: Case) -> Result:
    start = time.monotonic()
    try:
        steps, compared = ours.train(args.meshplan, work, case, args.deadline)
    except Failed as failed:
        return Result(case.name, passed=False, message=" | ".join(str(failed).splitlines()), seconds=time.monotonic() - start)
    reference = peer.steps_of(work, case.reference)
    result = Result(
        case.name, passed=False, loss=largest_difference(steps, reference, "loss"),
        norm=largest_difference(steps, reference, "grad_norm"), memory=compared["memory"]["difference_percent"] / 100,
        collectives=compared["collectives"]["planned"], collectives_equal=compared["collectives"]["equal"],
        communication_bytes=compared["memory"]["measured_peak_communication_bytes"])
    result.passed = (result.loss <= LOSS_TOLERANCE[case.dtype] and result.norm <= NORM_TOLERANCE[case.dtype]
                     and abs(result.memory) <= MEMORY_TOLERANCE and result.collectives_equal)
    result.seconds = time.monotonic() - start
    if result.passed:
        ours.clear(work, case)
    return result


class Record:
    """A file of JSON lines, one a case: what passed with these programs and references is not run again."""

    def __init__(self, path: pathlib.Path, identity: str):
        self.path, self.identity = path, identity
        lines = path.read_text().splitlines() if path.exists() else []
        self.results = {}
        for entry in map(json.loads, lines):
            if entry.pop("identity") == identity and entry["passed"]:
                self.results[entry["case"]] = Result(**entry)

    def add(self, result: Result) -> None:
        self.results[result.case] = result
        # JSON has no NaN: a case without a figure has none.
        figures = {key: value for key, value in dataclasses.asdict(result).items() if not (isinstance(value, float) and math.isnan(value))}
        with open(self.path, "a") as file:
            file.write(json.dumps({"identity": self.identity, **figures}) + "\n")


def identity_of(meshplan: pathlib.Path) -> str:
    digest = hashlib.sha256(peer.fingerprint().encode())
    for program in (meshplan, meshplan.with_name("meshplan-train")):
        digest.update(program.read_bytes())
    return digest.hexdigest()[:12]


def report_progress(done: int, count: int, start: float) -> None:
    left = (time.monotonic() - start) / done * (count - done)
    print(f"{done} of {count} cases, {left / 60:.0f} min left", file=sys.stderr, flush=True)


def run(args: argparse.Namespace, chosen: list[Case]) -> dict[str, Result]:
    work = args.work / peer.fingerprint()
    work.mkdir(parents=True, exist_ok=True)
    record = Record(args.record, identity_of(args.meshplan)) if args.record else None
    done = {case.name: record.results[case.name] for case in chosen if record and case.name in record.results}
    waiting = [case for case in chosen if case.name not in done]
    if done:
        print(f"{len(done)} cases passed before, see {args.record}", file=sys.stderr)
    start = time.monotonic()
    peer.train_references(work, (case.reference for case in waiting))
    print(f"the peer is done after {time.monotonic() - start:.0f} s", file=sys.stderr)
    print(heading())
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        futures = [pool.submit(judge, args, work, case) for case in waiting]
        for number, future in enumerate(concurrent.futures.as_completed(futures), 1):
            result = future.result()
            done[result.case] = result
            print(result.line(), flush=True)
            if record:
                record.add(result)
            if number % 25 == 0:
                report_progress(number, len(waiting), start)
    return done


def summary(results: list[Result], chosen: list[Case]) -> str:
    lines = []
    for dtype, tolerance in LOSS_TOLERANCE.items():
        names = {case.name for case in chosen if case.dtype == dtype}
        measured = [result for result in results if result.case in names and not result.message]
        if not measured:
            continue
        norm = f" (tolerance {NORM_TOLERANCE[dtype]:g})" if math.isfinite(NORM_TOLERANCE[dtype]) else ""
        lines.append(f"{dtype}, {len(measured)} cases: largest difference of the loss {max(r.loss for r in measured):.1e} "
                     f"(tolerance {tolerance:g}), of the gradient norm {max(r.norm for r in measured):.1e}{norm}, of memory "
                     f"{max(abs(r.memory) for r in measured):.2%} (tolerance {MEMORY_TOLERANCE:.0%})")
    compared = [result for result in results if not result.message]
    if compared:
        worst = max(compared, key=lambda result: abs(result.memory))
        lines.append(f"worst of memory: {worst.case} {worst.memory:+.2%}; collectives, with their bytes, of {sum(r.collectives_equal for r in compared)} "
                     f"of {len(compared)} cases equal the plan's")
    passed = sum(result.passed for result in results)
    return "\n".join([*lines, f"{passed} of {len(results)} cases passed"])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meshplan", type=pathlib.Path, default=ROOT / "build/release/bin/meshplan", help="the program")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build/parity", help="keeps inputs and the peer's losses between calls")
    parser.add_argument("--full", action="store_true", help="every case, recorded in --record, which is gone on with")
    parser.add_argument("--record", type=pathlib.Path, help="file of JSON lines (default: full.jsonl in --work with --full, else none)")
    parser.add_argument("--only", nargs="+", default=[], help="cases with all of these words in their names, as in no_shard 2x2")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time (default: 1)")
    parser.add_argument("--deadline", type=float, default=180, help="seconds for a case of ours; more where others use the cores (default: 180)")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and do nothing")
    args = parser.parse_args()
    args.meshplan = args.meshplan.resolve()
    args.work = args.work.resolve()
    if args.full and args.record is None:
        args.record = args.work / "full.jsonl"
    return args


def main() -> None:
    args = parse_arguments()
    chosen = cases.all_cases() + cases.covering_set(cases.all_cases("bfloat16"), 2) if args.full else cases.cases_of_ci()
    chosen = [case for case in chosen if set(args.only) <= set(case.name.split("-"))]
    if args.list:
        print("\n".join(case.name for case in chosen))
        return
    if not chosen:
        sys.exit(f"no case has all of {' '.join(args.only)} in its name; see --list")
    results = run(args, chosen)
    print(summary(list(results.values()), chosen))
    sys.exit(0 if all(result.passed for result in results.values()) else 1)


if __name__ == "__main__":
    main()
