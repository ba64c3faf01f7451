"""What the tests of this folder share. The build that is installed: BUILD names its folder."""
import json
import os
import pathlib
import re
import subprocess

BUILD = pathlib.Path(os.environ["BUILD"])
SOURCE = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
# The layout that tests/packaging/consumer prices.
CONSUMED = ["--model", "llama-3-8b", "--cluster", "h100-sxm", "--seq-length", "8192", "--dp-shard", "4", "--tp", "2"]


def run(*command, **how) -> subprocess.CompletedProcess:
    """Runs it to the end with its output as text; whoever calls looks at the exit code."""
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, errors="replace", **how)


def succeed(*command, **how) -> str:
    """What it printed; its complaint as the failure where it does not end well."""
    ended = run(*command, **how)
    if ended.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: exit code {ended.returncode}\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def subcommands(meshplan: pathlib.Path) -> list[str]:
    """As the program's help lists them."""
    listed = succeed(meshplan, "--help").split("Subcommands:\n")[1]
    return re.findall(r"^  ([a-z-]+) ", listed, re.MULTILINE)


def elf_files(folder: pathlib.Path):
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path


def search_paths(program: pathlib.Path) -> list[str]:
    return re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", succeed("readelf", "--dynamic", program))


def files_that_name(folder: pathlib.Path, paths: list[str]) -> dict[str, str]:
    """Files under the folder in whose bytes one of the paths stands, with the first one."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            for named in paths:
                if named.encode() in content:
                    found[str(path.relative_to(folder))] = named
    return found


def bash_completes(script: pathlib.Path, *words: str) -> list[str]:
    """What bash's programmable completion offers for the last of the words after `meshplan`."""
    line = " ".join(f"'{word}'" for word in ("meshplan", *words))
    offered = succeed("bash", "--norc", "-c", f"""
        source {script}
        COMP_WORDS=({line}) COMP_CWORD={len(words)}
        _meshplan
        printf '%s\\n' "${{COMPREPLY[@]}}" """)
    return offered.split()


def consumer_and_program(consumer: pathlib.Path, meshplan: pathlib.Path, folder: pathlib.Path) -> tuple[dict, dict]:
    """Estimate and simulated step of the same layout, by the libraries and by the program."""
    plan = folder / "consumed.json"
    consumed = json.loads(succeed(consumer, plan))
    simulated = json.loads(succeed(meshplan, "simulate", plan, "--json"))
    return consumed, {"estimate": json.loads(succeed(meshplan, "estimate", *CONSUMED, "--json")),
                      "simulated": {key: simulated[key] for key in consumed["simulated"]}}
