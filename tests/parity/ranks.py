"""Processes that are the ranks of one job on this machine, started by environment variables alone."""
import os
import pathlib
import signal
import socket
import subprocess
import time


class Failed(Exception):
    """A job that ended badly; the text says how, with what its first failing rank said last."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _tail(log: pathlib.Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "\n".join(lines[-8:])


def _wait_all(processes: list[subprocess.Popen], deadline: float) -> tuple[int, int] | None:
    """The first rank that ended badly and its exit code; nothing when all ended well. Raises TimeoutExpired."""
    end = time.monotonic() + deadline
    running = dict(enumerate(processes))
    while running:
        for rank, process in list(running.items()):
            if process.poll() is None:
                continue
            if process.returncode != 0:
                return rank, process.returncode
            del running[rank]
        if time.monotonic() > end:
            raise subprocess.TimeoutExpired(processes[0].args, deadline)
        time.sleep(0.01)
    return None


def run_ranks(command: list[str], world_size: int, log: pathlib.Path, deadline: float,
              environment: dict[str, str] | None = None) -> None:
    """Runs the command once a rank, one thread each; what rank R says goes to LOG.R. Raises Failed."""
    place = dict(os.environ, WORLD_SIZE=str(world_size), LOCAL_WORLD_SIZE=str(world_size), MASTER_ADDR="127.0.0.1",
                 MASTER_PORT=str(free_port()), **{"OMP_NUM_THREADS": "1", **(environment or {})})
    logs = [log.with_name(f"{log.name}.{rank}") for rank in range(world_size)]
    processes = []
    try:
        for rank, file in enumerate(logs):
            with open(file, "w") as output:
                processes.append(subprocess.Popen(command, env=dict(place, RANK=str(rank), LOCAL_RANK=str(rank)), stdin=subprocess.DEVNULL,
                                                  stdout=output, stderr=subprocess.STDOUT))
        failure = _wait_all(processes, deadline)
        if failure is not None:
            # The others say why as well, a moment later: the cause is the one that ended first.
            rank, code = failure
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            raise Failed(f"rank {rank}: {how}: {_tail(logs[rank])}")
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {deadline:.0f} s; rank 0 said: {_tail(logs[0])}") from None
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
