"""Plans for the tests of exports: one that meshplan makes, with parts of its JSON replaced."""
import json
import os
import subprocess
import tempfile
from pathlib import Path

MESHPLAN = os.environ["MESHPLAN"]


# The trainers whose packages read the files (scripts/bootstrap installs them).
TRAINERS = Path(os.environ.get("MESHPLAN_TRAINERS", ""))


def run(*arguments, timeout=60):
    return subprocess.run([MESHPLAN, *map(str, arguments)], capture_output=True, text=True, timeout=timeout)


def base_plan(model, cluster, *flags):
    """What every target can say: no chunks of the loss, nothing kept gathered."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        ended = run("plan", "--model", model, "--cluster", cluster, "--loss-chunks", 1, "--blocks-kept-gathered", 0,
                    *flags, "-o", path)
        assert ended.returncode == 0, ended.stderr
        return json.loads(path.read_text())


def plan_for(target, folder, *flags):
    """The plan that `meshplan plan --for` makes."""
    path = Path(folder) / f"{target}.json"
    ended = run("plan", "--for", target, *flags, "-o", path)
    assert ended.returncode == 0, ended.stderr
    return path


def changed(plan, job=None, **layout):
    """A copy with these fields of its layout and job."""
    plan = json.loads(json.dumps(plan))
    plan["layout"].update(layout)
    plan["job"].update(job or {})
    return plan


def export(plan, target):
    """The text of the file, or the refusals."""
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder) / "plan.json", Path(folder) / "output"
        path.write_text(json.dumps(plan))
        ended = run("export", path, "--to", target, "-o", output, "--json")
        answer = json.loads(ended.stdout)
        if ended.returncode == 0:
            return output.read_text(), answer
        assert ended.returncode == 3 and not output.exists(), ended.stderr
        return None, answer["error"]["message"]
