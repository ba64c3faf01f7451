"""The job of `meshplan submit --to ray` on a Ray cluster of two nodes of this machine: it gives the losses of a plain run.

RAY_PYTHON names a Python that has ray[default]; it is an environment of its own (build/venv-ray), made by scripts/bootstrap --engines.
"""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest
import urllib.request

import ranks
import submitting

RAY_PYTHON = pathlib.Path(os.environ.get("RAY_PYTHON", ""))
RAY = RAY_PYTHON.parent / "ray"


class RayCluster:
    """A head and another node, each with so many CPUs, on ports of their own."""

    def __init__(self, folder: pathlib.Path, cpus: int):
        self.dashboard, port = ranks.free_port(), ranks.free_port()
        common = ["--block", f"--num-cpus={cpus}", "--disable-usage-stats", "--object-store-memory=80000000"]
        self.head = ["--head", f"--port={port}", f"--dashboard-port={self.dashboard}", "--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1",
                     f"--temp-dir={folder}", *common]
        self.worker = [f"--address=127.0.0.1:{port}", "--node-ip-address=127.0.0.1", *common]
        self.environment = os.environ | {"PATH": f"{RAY.parent}:{os.environ['PATH']}", "RAY_ADDRESS": f"http://127.0.0.1:{self.dashboard}"}
        self.log = folder.parent / "ray.log"

    def start(self, words: list[str]) -> subprocess.Popen:
        environment = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"}
        with self.log.open("a") as log:
            return subprocess.Popen([RAY, "start", *words], stdout=log, stderr=log, env=environment, start_new_session=True)

    def get(self, path: str) -> dict:
        """Of the dashboard; empty while it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.environment['RAY_ADDRESS']}/api/{path}", timeout=30) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return {}

    def __enter__(self):
        self.nodes = [self.start(self.head)]
        submitting.wait_until(lambda: self.get("version"), 120)
        self.nodes.append(self.start(self.worker))
        return self

    def __exit__(self, *_):
        # Ray's own end waits half a minute.
        for process in [process for node in self.nodes for process in submitting.descendants(node.pid)]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for node in self.nodes:
            node.wait()


class SubmitRay(unittest.TestCase):
    def test_two_nodes_give_the_losses_of_a_plain_run(self):
        if not RAY.exists():
            reason = f"Ray is left out: {RAY} is missing; scripts/bootstrap --engines makes build/venv-ray"
            print(reason)
            raise unittest.SkipTest(reason)
        # Ray's sockets lie below it, whose names have 107 bytes at most.
        with tempfile.TemporaryDirectory(dir="/tmp") as work, RayCluster(pathlib.Path(work) / "ray", cpus=2) as cluster:
            planned = submitting.Planned(pathlib.Path(work) / "planned", nodes=2, ranks_per_node=2)
            plain = planned.plain_losses()
            said = planned.submit("ray", "on-ray", "--program", submitting.MESHPLAN, PATH=cluster.environment["PATH"],
                                  RAY_ADDRESS=cluster.environment["RAY_ADDRESS"])
            job = next(word.strip("'\"") for word in said["output"].split() if word.strip("'\"").startswith("raysubmit_"))
            submitting.wait_until(lambda: cluster.get(f"jobs/{job}").get("status") in ("SUCCEEDED", "FAILED", "STOPPED"), 200)
            logs = cluster.get(f"jobs/{job}/logs").get("logs", "")
            self.assertEqual(cluster.get(f"jobs/{job}")["status"], "SUCCEEDED", logs)
            difference = submitting.largest_difference(planned.losses("on-ray"), plain)
            print(f"Ray: largest difference of {len(plain)} losses {difference:g}, tolerance 0")
            self.assertEqual(difference, 0)
            self.assertIn("waiting for 2 nodes with 2 CPUs and 0 GPUs each", logs)


if __name__ == "__main__":
    unittest.main()
