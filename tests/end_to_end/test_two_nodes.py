"""Two network namespaces, joined by a pair of virtual interfaces, as two nodes with two ranks each: tp inside, dp across.

MESHPLAN names the program. Needs root, for `ip netns` and `tc`; without it the tests are left out.
"""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import ranks
from launchers import without_launchers

PORT = 29555
# Of the wire between the nodes, in one direction; far below what two cores can move.
LIMIT_BYTES_PER_S = 50e6
LARGEST_ERROR = 0.15
# A global batch of 4 sequences of so many tokens: from where tensor parallelism moves less than sharded data parallelism to where it
# moves more.
SEQUENCES = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)


def run(*words) -> None:
    subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True)


class Wire:
    """Namespaces A and B with 10.77.0.1 and 10.77.0.2, removed in the end."""

    def __init__(self):
        self.nodes = [f"meshplan-{os.getpid()}-{side}" for side in "ab"]
        self.ends = [f"mp{os.getpid() % 100000}{side}" for side in "ab"]

    def __enter__(self):
        try:
            for node in self.nodes:
                run("ip", "netns", "add", node)
                run("ip", "-n", node, "link", "set", "lo", "up")
            run("ip", "link", "add", self.ends[0], "netns", self.nodes[0], "type", "veth", "peer", "name", self.ends[1], "netns",
                self.nodes[1])
            for number, (node, end) in enumerate(zip(self.nodes, self.ends), 1):
                run("ip", "-n", node, "addr", "add", f"10.77.0.{number}/24", "dev", end)
                run("ip", "-n", node, "link", "set", end, "mtu", 9000, "up")
        except subprocess.CalledProcessError as error:
            self.__exit__()
            raise unittest.SkipTest(f"left out: {' '.join(error.cmd)} failed: {error.stderr.strip()}") from error
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            subprocess.run(["ip", "netns", "delete", node], capture_output=True)

    def limit(self, bytes_per_s: float) -> None:
        for node, end in zip(self.nodes, self.ends):
            run("ip", "netns", "exec", node, "tc", "qdisc", "replace", "dev", end, "root", "tbf", "rate", f"{int(8 * bytes_per_s)}bit",
                "burst", "20kb", "latency", "100ms")

    def start(self, node: int, command: list, **variables) -> subprocess.Popen:
        return subprocess.Popen(["ip", "netns", "exec", self.nodes[node], *map(str, command)], text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, env=without_launchers() | {k: str(v) for k, v in variables.items()})


@unittest.skipUnless(os.geteuid() == 0, "left out: network namespaces need root")
@unittest.skipUnless(shutil.which("ip") and shutil.which("tc"), "left out: ip and tc are not installed (Debian: iproute2)")
class TwoNodes(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def finish(self, processes: list[subprocess.Popen], timeout: float) -> str:
        try:
            said = [process.communicate(timeout=timeout)[0] for process in processes]
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.communicate()
        self.assertEqual([process.returncode for process in processes], [0] * len(processes), "\n".join(said))
        return "".join(said)

    def calibrate(self, wire: Wire, name: str) -> pathlib.Path:
        file = self.root / name
        command = [ranks.MESHPLAN, "calibrate", "--ranks", 4, "--tp", 2, "--model", self.root / "small" / "model", "--seq-length", 16,
                   "--microbatch-size", 1, "-o", file]
        self.finish([wire.start(rank // 2, command, RANK=rank, WORLD_SIZE=4, LOCAL_RANK=rank % 2, LOCAL_WORLD_SIZE=2,
                                MASTER_ADDR="10.77.0.1", MASTER_PORT=PORT) for rank in range(4)], timeout=400)
        return file

    def best_tp(self, cluster: pathlib.Path, sequence: int) -> int:
        planned = subprocess.run([ranks.MESHPLAN, "plan", "--model", self.root / "model", "--cluster", cluster, "--seq-length",
                                  str(sequence), "--global-batch-size", "4", "--tp", "1,2,4", "--json"],
                                 capture_output=True, text=True)
        self.assertEqual(planned.returncode, 0, planned.stderr)
        return json.loads(planned.stdout)["ranked"][0]["layout"]["tp"]

    def test_trains_over_the_wire_as_on_one_machine(self):
        ranks.write_inputs(self.root)
        with Wire() as wire:
            flags = [*ranks.flags(self.root, "wire", 2, 2, "--steps", 4), "--nnodes", 2, "--master-addr", "10.77.0.1", "--master-port", PORT]
            said = self.finish([wire.start(node, [ranks.MESHPLAN, *flags, "--node-rank", node]) for node in range(2)], timeout=120)
        self.assertIn("2 a node; the ranks meet at", said)
        plain = ranks.train(self.root, "plain", 2, 2, "--steps", 4)
        run_folder = self.root / "runs" / "wire"
        losses = [json.loads(line)["loss"] for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
        largest = max(abs(a - b) for a, b in zip(losses, plain.losses(), strict=True))
        print(f"two nodes: largest difference to one machine's losses {largest}, tolerance 0")
        self.assertEqual(losses, plain.losses())

    @unittest.skipUnless(os.environ.get("MESHPLAN_CALIBRATE_NODES"),
                         "left out: takes minutes and wants a quiet machine; MESHPLAN_CALIBRATE_NODES=1 runs it")
    def test_calibrate_finds_the_bandwidth_and_the_plan_turns(self):
        ranks.write_inputs(self.root / "small")
        with Wire() as wire:
            wire.limit(LIMIT_BYTES_PER_S)
            slow = self.calibrate(wire, "slow.json")
        cluster = json.loads(slow.read_text())
        self.assertEqual((cluster["nodes"], cluster["devices_per_node"]), (2, 2))
        for kind in ("all_reduce", "all_gather", "reduce_scatter"):
            # Both ranks of a node send at once, and the figure is of one of them.
            found = 2 * cluster["inter_node"][kind]["bandwidth_bytes_per_s"]
            error = found / LIMIT_BYTES_PER_S - 1
            print(f"{kind}: {found * 1e-6:.1f} MB/s over the wire, limited to {LIMIT_BYTES_PER_S * 1e-6:.0f}; error {error:+.1%}, "
                  f"tolerance {LARGEST_ERROR:.0%}")
            self.assertLess(abs(error), LARGEST_ERROR)

        # The same cluster with a wire as fast as a node's own links.
        fast = self.root / "fast.json"
        fast.write_text(json.dumps(cluster | {"inter_node": cluster["intra_node"]}))
        ranks.write_inputs(self.root, hidden_size=512, intermediate_size=1536, num_hidden_layers=4, vocab_size=1024,
                           num_attention_heads=8, num_key_value_heads=8, max_position_embeddings=2048)
        turns = {sequence: (self.best_tp(fast, sequence), self.best_tp(slow, sequence)) for sequence in SEQUENCES}
        print("best tp by sequence length, with a wire like a node's links and as it is:", turns)
        self.assertIn((4, 2), turns.values(), "nowhere does the plan turn from tp across the nodes to tp inside of them")
        self.assertFalse(any(slow == 4 and fast != 4 for fast, slow in turns.values()), "the plan turned the other way")


if __name__ == "__main__":
    unittest.main(verbosity=2)
