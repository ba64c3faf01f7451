"""Whether what a command printed is what its page shows.

Figures of planner and simulator are the same on every machine, and must be equal. What a command measured on this machine is masked where
it is a time, and compared within a thousandth where it is a loss: kernels of another processor add up in another order.
"""
from __future__ import annotations

import re

MEASURES = re.compile(r"\bmeshplan (?:train|compare|calibrate|launch)\b|\bmeshplan-train\b|\bscripts/|\btorchrun\b|\bmpirun\b|\bsrun\b")
ALWAYS_VARIES = re.compile(r"(played in|took|wrote in|after) \d+(\.\d+)? (us|ms|s)\b")
MEASURED = re.compile(
    r"(?<=MFU )[\d.]+ %"
    r"|\b\d+:\d\d:\d\d\b"
    r"|(?<=step time \(median\)).*"  # of compare: predicted from a measured cluster, measured, and their difference
    r"|(?<=communication library's own memory).*"
    r"|\d[\d.]* ?(?:ns|us|ms|s|min|h|tokens/s|GB/s|GFLOP/s|TFLOP/s)(?![\w/])"
)
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
ELLIPSIS = "..."


def fields(line: str, measures: bool) -> str:
    line = ALWAYS_VARIES.sub(r"\1 #", line.rstrip())
    if measures:
        line = re.sub(r"\s+", " ", MEASURED.sub("#", line))
    return re.sub(r"-{2,}", "--", line)  # under a column of paths it is as long as the folder's name


def same_numbers(shown: str, real: str) -> bool:
    """Equal but for numbers, which are within a thousandth."""
    if NUMBER.sub("#", shown) != NUMBER.sub("#", real):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(real), strict=True)
    return all(abs(float(a) - float(b)) <= 1e-3 * max(abs(float(a)), abs(float(b))) for a, b in pairs)


def same_line(shown: str, real: str, measures: bool) -> bool:
    shown, real = fields(shown, measures), fields(real, measures)
    if shown == real or (measures and same_numbers(shown, real)):
        return True
    if ELLIPSIS not in shown:
        return False
    pattern = ".*?".join(re.escape(part) for part in shown.split(ELLIPSIS))
    return re.fullmatch(pattern, real) is not None


def first_difference(shown: list[str], real: list[str], measures: bool) -> str | None:
    """None where the real lines are the shown ones; a shown line "..." stands for any number of lines."""
    reached = {0}  # how many real lines the shown ones so far may have used up
    for number, line in enumerate(shown):
        if line.strip() == ELLIPSIS:
            reached = set(range(min(reached), len(real) + 1))
            continue
        after = {at + 1 for at in reached if at < len(real) and same_line(line, real[at], measures)}
        if not after:
            furthest = min(reached)
            got = real[furthest] if furthest < len(real) else "(the end of the output)"
            return f"line {number + 1} of what is shown differs\n  shown: {line}\n  real:  {got}"
        reached = after
    if len(real) in reached:
        return None
    return f"the output goes on after what is shown; the next line:\n  real:  {real[max(reached)]}"
