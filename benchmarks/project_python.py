"""Runs a script with the Python of the build tree, which has PyTorch, where the one that started it has none."""
import importlib.util
import os
import pathlib
import sys

PYTHON = pathlib.Path(__file__).resolve().parents[1] / "build" / "venv" / "bin" / "python3"


def use() -> None:
    """Does not return where it starts the other Python; ends the program where there is none."""
    if importlib.util.find_spec("torch"):
        return
    if not PYTHON.exists() or pathlib.Path(sys.executable) == PYTHON:
        sys.exit(f"{sys.argv[0]}: this Python has no torch; run scripts/bootstrap, which installs it in build/venv")
    os.execv(PYTHON, [str(PYTHON), *sys.argv])
