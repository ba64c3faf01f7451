"""The file in which libheap_counter.so (heap_counter.cpp) counts the heap of a running process."""
import dataclasses
import pathlib
import struct


@dataclasses.dataclass
class Counts:
    """Bytes."""
    at_reset: int
    peak: int


def reset_peak(file: pathlib.Path) -> None:
    """The peak becomes what is allocated now, which is noted beside the file."""
    with open(file, "r+b") as counts:
        now = counts.read(8)
        counts.seek(8)
        counts.write(now)
    file.with_suffix(".reset").write_bytes(now)


def largest(folder: pathlib.Path) -> Counts:
    """Of the processes that were reset, the one with most."""
    processes = []
    for noted in folder.glob("*.reset"):
        at_reset, = struct.unpack("=q", noted.read_bytes())
        _, peak = struct.unpack("=2q", noted.with_suffix("").read_bytes())
        processes.append(Counts(at_reset, peak))
    return max(processes, key=lambda counts: counts.peak)
