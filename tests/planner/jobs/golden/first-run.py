"""2 nodes x 4 ranks, dp_shard 2 x tp 4; made by `meshplan submit --to ray` for Ray 2.9 and newer.

Starts the ranks: an actor on each node starts that node's ranks, and looks after them.
"""
import os
import signal
import socket
import subprocess
import sys
import time

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

NODES, RANKS_PER_NODE = 2, 4
CPUS, GPUS = 4, 4  # of a node
PORT = 0  # where the ranks meet; 0: a free one
MAX_RESTARTS = 3
TRAIN_S = 129420  # seconds until the ranks are told to leave a checkpoint
ENVIRONMENT = {
    "NCCL_IB_HCA": "=mlx5_0:1,mlx5_1:1",
    "NCCL_DEBUG": "WARN",
    "NCCL_SOCKET_IFNAME": "ib0",
}
COMMAND = [
    "/opt/meshplan/bin/meshplan",
    "train",
    "plan.json",
    "--data",
    "/shared/a text",
    "--steps",
    "100",
    "--storage-path",
    "/shared/runs",
    "--experiment-name",
    "first run",
]

WITH_A_REASON = {1, 2, 3, 4, 5, 6, 7, 130, 138, 143}  # which would come again; other codes are of ranks that died
PATIENCE_S = 60  # for the other ranks, once one has failed


@ray.remote
class Node:
    """The ranks of one node."""

    def __init__(self):
        self.ranks = []

    def meeting_place(self):
        with socket.socket() as listener:
            listener.bind(("", PORT))
            return ray.util.get_node_ip_address(), listener.getsockname()[1]

    def start(self, node, address, port):
        for local_rank in range(RANKS_PER_NODE):
            place = {"RANK": node * RANKS_PER_NODE + local_rank, "WORLD_SIZE": NODES * RANKS_PER_NODE,
                     "LOCAL_RANK": local_rank, "LOCAL_WORLD_SIZE": RANKS_PER_NODE, "MASTER_ADDR": address, "MASTER_PORT": port}
            environment = {**os.environ, **ENVIRONMENT, **{name: str(value) for name, value in place.items()}}
            self.ranks.append(subprocess.Popen(COMMAND, env=environment, stdin=subprocess.DEVNULL))

    def codes(self):
        return [rank.poll() for rank in self.ranks]

    def send(self, number):
        for rank in self.ranks:
            if rank.poll() is None:
                rank.send_signal(number)


def exit_code(codes):
    """Of the run: a rank's own reason before what it did to the others."""
    failed = [code for code in codes if code != 0]
    return next((code for code in failed if code in WITH_A_REASON), 8 if failed else 0)


def watch(nodes, deadline):
    """Waits for all ranks; tells them to leave a checkpoint at the deadline."""
    failed_at, told = None, False
    while True:
        codes = [code for of_node in ray.get([node.codes.remote() for node in nodes]) for code in of_node]
        if None not in codes:
            return exit_code(codes)
        now = time.monotonic()
        if failed_at is None and any(codes):
            failed_at = now
        if failed_at is not None and now > failed_at + PATIENCE_S:
            ray.get([node.send.remote(signal.SIGKILL) for node in nodes])
        if deadline is not None and now > deadline and not told:
            ray.get([node.send.remote(signal.SIGUSR1) for node in nodes])
            told = True
        time.sleep(0.5)


def run(group, deadline):
    nodes = [Node.options(num_cpus=CPUS, num_gpus=GPUS,
                          scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=node)).remote()
             for node in range(NODES)]
    try:
        address, port = ray.get(nodes[0].meeting_place.remote())
        ray.get([node.start.remote(i, address, port) for i, node in enumerate(nodes)])
        return watch(nodes, deadline)
    except ray.exceptions.RayActorError as lost:
        print(f"a node is lost: {lost}", file=sys.stderr)
        return 8
    finally:
        for node in nodes:
            ray.kill(node)


def main():
    ray.init()
    # A node each, so that ranks that the plan has on one node are on one.
    group = placement_group([{"CPU": CPUS, "GPU": GPUS} if GPUS else {"CPU": CPUS}] * NODES, strategy="STRICT_SPREAD")
    print(f"waiting for {NODES} nodes with {CPUS} CPUs and {GPUS} GPUs each", file=sys.stderr)
    ray.get(group.ready())
    deadline = None if TRAIN_S is None else time.monotonic() + TRAIN_S
    for start in range(MAX_RESTARTS + 1):
        code = run(group, deadline)
        if code == 0 or code in WITH_A_REASON:
            break
        print(f"start {start + 1} of {MAX_RESTARTS + 1} ended with exit code {code}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
