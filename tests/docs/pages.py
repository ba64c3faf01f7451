"""The commands that README and docs show, and what they show under them.

How pages write commands is said in CONTRIBUTING.md ("Commands in pages"). A page is read without a Markdown library: fences, comments
and one sort of paragraph are all that matters here.
"""
from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEEDS = ("a clone", "a cluster", "GPUs", "root", "a network", "a display", "minutes")
CHANGES_THE_CLONE = re.compile(r"^\s*(?:\S*/)?scripts/(?:bootstrap|build|quickstart|test|format|docs)\b|^\s*(?:cmake|ctest|ninja|apt|apt-get|sudo|pip)\b", re.MULTILINE)

FENCE = re.compile(r"^\s*(```+|~~~+)\s*([\w-]*)")
NEED = re.compile(r"^\*Needs (" + "|".join(NEEDS) + r")\b.*\*$")
ANY_NEED = re.compile(r"^\*Needs\b.*\*$")
FIRST = re.compile(r"<!--\s*first:\s*(.*?)\s*-->", re.DOTALL)
PROGRAM = r"(?:meshplan|meshplan-train|meshplan-gui|scripts/\w+|build/\S+|torchrun|srun|sbatch|mpirun|kubectl|cmake|ctest|apt|python3?)"
COMMAND_ELSEWHERE = re.compile(rf"^(?:\$ .*|{PROGRAM} .*)$")


# Written before there were conventions: what stands in their other blocks is not run. None may join them.
NOT_YET_MARKED = ("docs/exports.md", "docs/installing.md", "docs/launching.md", "docs/submitting.md")
UNMARKED = "no marks"


class PageError(Exception):
    """A page that does not keep the conventions: where, what, and the remedy."""


@dataclass
class Command:
    text: str
    line: int
    shown: list[str] = field(default_factory=list)
    shown_at: tuple[int, int] = (0, 0)  # lines of the page, counted from 0, the second one excluded


@dataclass
class Block:
    page: Path
    line: int
    needs: str | None
    commands: list[Command]


def unmarked(page: Path, line: int, text: str) -> Block:
    """A command in a block that is neither console, sh nor bash."""
    if str(page) in NOT_YET_MARKED:
        return Block(page, line, UNMARKED, [Command(text.removeprefix("$ "), line)])
    raise PageError(f"{page}:{line}: the command '{text}' in a block that no test runs; make it ```console, ```sh or ```bash")


def checked(block: Block) -> Block:
    """The block, unless it would set up, build or test this very clone without saying that it needs one."""
    for command in block.commands:
        if block.needs not in ("a clone", "root", "a cluster", "a network") and (found := CHANGES_THE_CLONE.search(command.text)):
            raise PageError(f"{block.page}:{command.line}: '{found[0].strip()}' changes the clone or the system that the test runs in; write '*Needs a clone.*' above the block")
    return block


def all_pages() -> list[Path]:
    """Every page of the project that a user reads."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return pages + [ROOT / "benchmarks/README.md", ROOT / "catalog/measurements/README.md"]


def console_commands(page: Path, body: list[str], start: int) -> list[Command]:
    """The commands after "$ ", each with the lines up to the next one; start is the line of body[0], counted from 0."""
    commands: list[Command] = []
    at = 0
    while at < len(body):
        if not body[at].startswith("$ "):
            raise PageError(f"{page}:{start + at + 1}: a console block begins with '$ ' and a command; is '{body[at]}'")
        first = at
        text = body[at][2:]
        while at + 1 < len(body) and (text.endswith("\\") or body[at + 1].startswith("> ")):
            at += 1
            text += "\n" + body[at].removeprefix("> ")
        at += 1
        begin = at
        while at < len(body) and not body[at].startswith("$ "):
            at += 1
        end = at
        while end > begin and not body[end - 1].strip():
            end -= 1
        commands.append(Command(text, start + first + 1, body[begin:end], (start + begin, start + end)))
    return commands


def blocks_of(page: Path, text: str) -> list[Block]:
    """The blocks of commands of a page, in order. Throws PageError where a command hides in another sort of block."""
    lines = text.split("\n")
    blocks: list[Block] = []
    needs: str | None = None
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith("<!--"):
            begin = at
            while "-->" not in lines[at]:
                at += 1
                if at == len(lines):
                    raise PageError(f"{page}:{begin + 1}: a comment without an end")
            if found := FIRST.search("\n".join(lines[begin : at + 1])):
                blocks.append(checked(Block(page, begin + 1, None, [Command(found[1], begin + 1)])))
            at += 1
            continue
        if fence := FENCE.match(line):
            begin = at + 1
            at = begin
            while at < len(lines) and not lines[at].strip().startswith(fence[1]):
                at += 1
            if at == len(lines):
                raise PageError(f"{page}:{begin}: a fence without an end")
            indent = len(line) - len(line.lstrip())
            body = [inner[indent:] for inner in lines[begin:at]]
            language = fence[2]
            if language == "console":
                blocks.append(checked(Block(page, begin, needs, console_commands(page, body, begin))))
            elif language in ("sh", "bash"):
                blocks.append(checked(Block(page, begin, needs, [Command("\n".join(body), begin + 1)])))
            else:
                blocks += [unmarked(page, begin + 1 + number, inner) for number, inner in enumerate(body) if COMMAND_ELSEWHERE.match(inner)]
            needs = None
            at += 1
            continue
        if ANY_NEED.match(line):
            if not (marked := NEED.match(line)):
                raise PageError(f"{page}:{at + 1}: '{line}' names no need that is known; use one of: {', '.join(NEEDS)}")
            needs = marked[1]
        elif line.strip() and not line.startswith("    "):
            needs = None
        indented = line.startswith("    ") and (at == 0 or not lines[at - 1].strip() or lines[at - 1].startswith("    "))
        if indented and COMMAND_ELSEWHERE.match(line.strip()):
            text = line.strip()
            while text.endswith("\\") and at + 1 < len(lines):
                at += 1
                text += "\n" + lines[at].strip()
            blocks.append(unmarked(page, at + 1, text))
        at += 1
    return blocks
