"""Kills training runs with SIGKILL at random moments, saves included, and proves that each restart goes on from a whole checkpoint.

    python tests/soak/kill_soak.py --meshplan PATH [--kills 200] [--seed 0] [--record FILE] [--work DIR]

One uninterrupted run gives the losses of all steps. Then runs of the same job are started with `--resume auto`, checkpoints every two
steps (every other run asynchronously), the newest two kept, and killed: one rank, or all at once, at a random moment after the first
step, and often right when an unfinished checkpoint's folder shows, at a random moment of the save. After every kill, `checkpoint
verify` must find every finished checkpoint whole, none may be lost that was there before the newest two, and the next run must go on
from the newest and repeat the uninterrupted losses bit for bit.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "end_to_end"))

INTERVAL = 2


def wait_for_moment(run, numbers: random.Random, kind: str, before: set[str]) -> str:
    """Waits for the moment to kill at; says which it was."""
    checkpoints = run.folder / "checkpoints"
    steps = len(run.metrics()) + numbers.randint(1, 6)
    saves = numbers.randint(1, 3)
    seen = set()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(rank.poll() is None for rank in run.ranks):
        if kind == "save":
            seen |= {p.name for p in checkpoints.glob("step-*.tmp-*")} - before if checkpoints.exists() else set()
            if len(seen) >= saves:
                time.sleep(numbers.random() * 0.02)
                return "in a save"
            time.sleep(0.0003)
        elif len(run.metrics()) >= steps:
            time.sleep(numbers.random() * 0.05)
            return "while training"
        else:
            time.sleep(0.005)
    return "at the end"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meshplan", required=True)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=pathlib.Path, help="write the counts to this file as JSON")
    parser.add_argument("--work", type=pathlib.Path, help="an empty folder for the runs; a temporary one by default")
    parser.add_argument("--seconds", type=float, default=0, help="stop after so many seconds, whatever --kills says; 0 = do not")
    args = parser.parse_args()
    os.environ["MESHPLAN"] = args.meshplan
    import ranks  # reads MESHPLAN

    work = args.work or pathlib.Path(tempfile.mkdtemp(prefix="meshplan-soak-"))
    numbers = random.Random(args.seed)
    ranks.write_inputs(work, hidden_size=16, intermediate_size=32, vocab_size=63)
    counts = {"kills": 0, "of one rank": 0, "of all ranks": 0, "in a save": 0, "while training": 0, "at the end": 0,
              "restarts that resumed": 0, "unfinished checkpoints found": 0, "most steps lost": 0}
    # Long enough that no run of the soak reaches the end.
    last_step = 14 * args.kills + 20
    begin = time.monotonic()
    meshes = [(2, 2), (2, 1), (1, 2)]
    losses = {}
    while counts["kills"] < args.kills and not (args.seconds and time.monotonic() - begin > args.seconds):
        mesh = meshes[counts["kills"] // 8 % len(meshes)]
        name = "soak-{}x{}".format(*mesh)
        folder = work / "runs" / name / "checkpoints"
        before = {p.name for p in folder.iterdir()} if folder.exists() else set()
        finished = sorted(int(n[5:]) for n in before if n[5:].isdigit())
        asynchronous = ["--async-checkpoint"] if counts["kills"] % 2 else []
        kind = numbers.choice(["save", "save", "train"])
        with ranks.Run(work, name, *mesh, "--steps", last_step, "--checkpoint-interval", INTERVAL, "--keep-latest-k", 2,
                       *asynchronous) as run:
            reached = len(run.metrics())
            moment = wait_for_moment(run, numbers, kind, before)
            victims = run.ranks if numbers.random() < 0.5 else [numbers.choice(run.ranks)]
            for victim in victims:
                victim.kill()
            run.wait(60)
            said = "\n".join(run.said)
            counts["kills"] += 1
            counts["of all ranks" if len(victims) > 1 else "of one rank"] += 1
            counts[moment] += 1
            steps = run.steps()
            trained = [m["step"] for m in run.metrics()]
            assert trained == list(range(len(trained))), f"metrics have a gap: {trained}\n{said}"
            for metric in run.metrics():
                known = losses.setdefault(mesh, {}).setdefault(metric["step"], metric["loss"])
                assert known == metric["loss"], f"step {metric['step']}: loss {metric['loss']}, before the restart {known}\n{said}"
            if finished:
                # A rank that was killed at once has said nothing.
                resumed = f"resuming after step {finished[-1]} " in run.said[0]
                assert resumed or "resuming" not in run.said[0], said
                counts["restarts that resumed"] += resumed
                counts["most steps lost"] = max(counts["most steps lost"], reached - finished[-1])
            assert not steps or steps[-1] >= (finished or [0])[-1], f"a checkpoint is lost: {finished}, then {steps}\n{said}"
            counts["unfinished checkpoints found"] += len([p for p in folder.glob("step-*.tmp-*")]) if folder.exists() else 0
        if steps:
            verified = subprocess.run([args.meshplan, "checkpoint", "verify", str(run.folder), "--json"], capture_output=True, text=True)
            assert verified.returncode == 0, f"{verified.stdout}\n{said}"
        if counts["kills"] % 10 == 0:
            print(f"{counts['kills']} kills, {time.monotonic() - begin:.0f} s", file=sys.stderr)
    for mesh, seen in losses.items():
        name = "straight-{}x{}".format(*mesh)
        steps = max(seen) + 1
        run = ranks.train(work, name, *mesh, "--steps", steps)
        assert run.codes == [0] * len(run.codes), "\n".join(run.said)
        assert run.losses() == [seen[s] for s in range(steps)], f"{name}: the losses differ from the uninterrupted run's"
        counts[f"steps compared on {mesh[0]} x {mesh[1]}"] = steps
    counts["seconds"] = round(time.monotonic() - begin)
    print(json.dumps(counts, indent=2))
    if args.record:
        args.record.write_text(json.dumps(counts, indent=2) + "\n")
    if args.work is None:
        shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
