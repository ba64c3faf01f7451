#!/usr/bin/env python3
"""Runs the commands of README and docs, page by page, and compares what they print with what the page shows.

    tests/docs/run_pages.py [--meshplan PROGRAM] [--minutes] [--write] [PAGE...]

    --minutes   also blocks that are marked as taking minutes
    --write     put what was printed into the page where it differs and what is shown has no "..."
    PAGE        these pages only (default: all)

Each page has a folder of its own, a link to the project's folders in it, and one shell for all of its commands. Blocks that
need what a machine may not have are not run; their flags are compared with --help. Exit code 1: something differs.
"""
from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from compare import MEASURES, first_difference
from pages import ROOT, Block, Command, PageError, all_pages, blocks_of

MARK = "@@@ command"
LONGEST_PAGE_S = 500
LONGEST_PAGE_WITH_MINUTES_S = 3600
INLINE = re.compile(r"`(meshplan [^`\n]+)`")
LINKED = ("scripts", "catalog", "benchmarks", "tests", "docs")


@dataclass
class Outcome:
    page: Path
    run: int = 0
    compared: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    real: dict[int, list[str]] = field(default_factory=dict)  # by the line of the command
    times: list[tuple[float, str]] = field(default_factory=list)


def printed_by(commands: list[Command], folder: Path, meshplan: Path, longest_s: int) -> list[tuple[int, float, list[str]]]:
    """Exit code, seconds and lines of each command, in one shell, up to the first that fails."""
    script = ["exec </dev/null 2>&1"]  # lines are buffered one by one, so that both outputs come in the order of a terminal
    for number, command in enumerate(commands):
        script += ["set -e", command.text, f'set +e; printf "\\n{MARK} {number} $EPOCHREALTIME\\n"']
    (folder / ".commands").write_text("\n".join(script) + "\n")
    # The home is the folder, so that pages show their files as ~/..., and nothing of the user's own is read or written.
    environment = {**os.environ, "PATH": f"{meshplan.parent}:{os.environ['PATH']}", "HOME": str(folder), "HF_HUB_OFFLINE": "1",
                   "COLUMNS": "1000", "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "QT_QPA_PLATFORM": "offscreen"}
    start = time.time()
    done = subprocess.run(["timeout", str(longest_s), "stdbuf", "-oL", "bash", ".commands"], cwd=folder, env=environment,
                          stdout=subprocess.PIPE, text=True, errors="replace")
    results = []
    lines: list[str] = []
    for line in done.stdout.replace(str(folder), "~").split("\n"):
        if not line.startswith(MARK):
            lines.append(line)
            continue
        at = line.split()[-1]
        while lines and not lines[-1].strip():
            lines.pop()
        results.append((0, float(at) - start, lines))
        start, lines = float(at), []
    if len(results) < len(commands):
        results.append((done.returncode or -1, time.time() - start, lines))
    return results


@lru_cache(maxsize=None)
def subcommands_of(meshplan: Path) -> frozenset[str]:
    said = subprocess.run([meshplan, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    return frozenset(re.findall(r"^  ([a-z][a-z-]*) ", said.partition("Subcommands:")[2], re.MULTILINE))


@lru_cache(maxsize=None)
def flags_of(meshplan: Path, subcommand: str) -> frozenset[str] | None:
    """The flags that --help names, or None where there is no such subcommand."""
    if subcommand and subcommand.split()[0] not in subcommands_of(meshplan):
        return None
    said = subprocess.run([meshplan, *subcommand.split(), "--help"], capture_output=True, text=True, timeout=60, check=True)
    return frozenset(re.findall(r"(?<![\w-])(-{1,2}[a-zA-Z][\w-]*)", said.stdout))


def wrong_flags(block: Block, meshplan: Path) -> list[str]:
    """Of a block that is not run: what bash cannot parse, and flags that --help does not know."""
    faults = []
    for command in block.commands:
        where = f"{block.page.relative_to(ROOT)}:{command.line}"
        parsed = subprocess.run(["bash", "-n", "-c", command.text], capture_output=True, text=True)
        if parsed.returncode:
            faults.append(f"{where}: not a command that bash understands: {parsed.stderr.strip()}")
        joined = command.text.replace("\\\n", " ")
        for words in re.findall(r"(?:^|[\s;&|(])(?:\S*/)?meshplan((?: [^\n#;&|)]*)?)", joined):
            parts = words.split()
            subcommand = parts[0] if parts and re.fullmatch(r"[a-z][a-z-]*", parts[0]) else ""
            if subcommand == "checkpoint" and len(parts) > 1:
                subcommand += f" {parts[1]}"
            known = flags_of(meshplan, subcommand)
            if known is None:
                faults.append(f"{where}: there is no 'meshplan {subcommand}'")
                continue
            used = [part.split("=")[0].replace("_", "-") for part in parts if re.match(r"--[a-z]", part)]
            faults += [f"{where}: 'meshplan {subcommand}' has no {flag}" for flag in used if flag not in known]
    return faults


def wrong_flags_in_text(page: Path, text: str, meshplan: Path) -> list[str]:
    """The same of `meshplan ...` in sentences and tables, where the subcommand is one of this program's."""
    faults = []
    for number, line in enumerate(text.split("\n"), 1):
        for span in INLINE.findall(line):
            if flags_of(meshplan, span.split()[1]) is not None:
                faults += wrong_flags(Block(page, number, None, [Command(span, number)]), meshplan)
    return faults


def run_page(page: Path, meshplan: Path, minutes: bool) -> Outcome:
    outcome = Outcome(page)
    begin = time.time()
    try:
        blocks = blocks_of(page.relative_to(ROOT), page.read_text(encoding="utf-8"))
    except PageError as error:
        outcome.faults.append(str(error))
        return outcome
    for block in blocks:
        block.page = page
    running = [block for block in blocks if block.needs is None or (minutes and block.needs == "minutes")]
    for block in blocks:
        if block not in running:
            outcome.left_out[block.needs] = outcome.left_out.get(block.needs, 0) + len(block.commands)
            outcome.faults += wrong_flags(block, meshplan)
    outcome.faults += wrong_flags_in_text(page, page.read_text(encoding="utf-8"), meshplan)
    commands = [command for block in running for command in block.commands]
    if not commands:
        return outcome
    with tempfile.TemporaryDirectory(prefix="meshplan-docs-") as name:
        folder = Path(name).resolve()
        for linked in LINKED:
            (folder / linked).symlink_to(ROOT / linked)
        (folder / "build/release").mkdir(parents=True)
        (folder / "build/release/bin").symlink_to(meshplan.parent)
        results = printed_by(commands, folder, meshplan, LONGEST_PAGE_WITH_MINUTES_S if minutes else LONGEST_PAGE_S)
    where = page.relative_to(ROOT)
    for command, (code, seconds, lines) in zip(commands, results):
        outcome.run += 1
        outcome.times.append((seconds, f"{where}:{command.line}"))
        if code:
            outcome.faults.append(f"{where}:{command.line}: exit code {code} of: {command.text}\n  " + "\n  ".join(lines[-15:]))
            break
        if not command.shown:
            continue
        outcome.compared += 1
        measures = MEASURES.search(command.text) is not None
        if difference := first_difference(command.shown, lines, measures):
            outcome.faults.append(f"{where}:{command.line}: {command.text}\n  {difference}")
            outcome.real[command.line] = lines
    outcome.seconds = time.time() - begin
    return outcome


def write_page(outcome: Outcome) -> int:
    """Puts what was printed in place of what is shown, from the last to the first. Returns how many."""
    text = outcome.page.read_text(encoding="utf-8")
    lines = text.split("\n")
    written = 0
    blocks = blocks_of(outcome.page, text)
    for command in reversed([command for block in blocks for command in block.commands]):
        if command.line in outcome.real and not any("..." in line for line in command.shown):
            lines[slice(*command.shown_at)] = outcome.real[command.line]
            written += 1
    outcome.page.write_text("\n".join(lines), encoding="utf-8")
    return written


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meshplan", type=Path, default=Path(os.environ.get("MESHPLAN", ROOT / "build/release/bin/meshplan")))
    parser.add_argument("--minutes", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("pages", nargs="*", type=Path)
    arguments = parser.parse_args()
    meshplan = arguments.meshplan.resolve()
    if not shutil.which(meshplan):
        parser.error(f"--meshplan: {meshplan} is no program; build it with scripts/build meshplan")
    pages = [page.resolve() for page in arguments.pages] or all_pages()
    with ThreadPoolExecutor(max_workers=2) as pool:
        outcomes = list(pool.map(lambda page: run_page(page, meshplan, arguments.minutes), pages))
    print(f"{'page':36} {'run':>4} {'compared':>8} {'time':>8}  not run, and what they need")
    for outcome in outcomes:
        left_out = ", ".join(f"{count}: {needs}" for needs, count in sorted(outcome.left_out.items()))
        print(f"{str(outcome.page.relative_to(ROOT)):36} {outcome.run:4} {outcome.compared:8} {outcome.seconds:6.1f} s  {left_out}")
    left_out = sum(sum(outcome.left_out.values()) for outcome in outcomes)
    print(f"{sum(o.run for o in outcomes)} commands run, {sum(o.compared for o in outcomes)} outputs compared, {left_out} commands not run")
    print("longest: " + ", ".join(f"{where} {seconds:.1f} s" for seconds, where in sorted((t for o in outcomes for t in o.times), reverse=True)[:5]))
    faults = [fault for outcome in outcomes for fault in outcome.faults]
    for fault in faults:
        print(fault, file=sys.stderr)
    if arguments.write:
        print(f"{sum(write_page(outcome) for outcome in outcomes if outcome.real)} outputs written")
    return 1 if faults or not any(outcome.run for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
