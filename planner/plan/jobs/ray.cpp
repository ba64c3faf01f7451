#include <fmt/format.h>

#include "planner/plan/jobs/quoting.h"
#include "planner/plan/jobs/targets.h"

namespace meshplan::planner {
namespace {

using common::Json;

constexpr const char* kImports = R"py(
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

)py";

constexpr const char* kDriver = R"py(
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
)py";

std::string constants(const Plan& plan, const JobRequest& request) {
  const std::int64_t ranks = plan.layout.mesh.ranks_per_node;
  const bool gpus = plan.cluster.device.kind == DeviceKind::kGpu;
  std::string command;
  for (const std::string& word : train_words(request, "plan.json"))
    command += fmt::format("    {},\n", python_text(word));
  std::string environment;
  for (const auto& [name, value] : environment_of(plan, request))
    environment += fmt::format("    {}: {},\n", python_text(name), python_text(value));
  return fmt::format(
      "NODES, RANKS_PER_NODE = {}, {}\n"
      "CPUS, GPUS = {}, {}  # of a node\n"
      "PORT = {}  # where the ranks meet; 0: a free one\n"
      "MAX_RESTARTS = {}\n"
      "TRAIN_S = {}  # seconds until the ranks are told to leave a checkpoint\n"
      "ENVIRONMENT = {{\n{}}}\n"
      "COMMAND = [\n{}]\n",
      plan.cluster.nodes, ranks, ranks * std::max<std::int64_t>(1, request.cpus_per_rank),
      gpus ? ranks : 0, request.port.value_or(0), request.max_restarts,
      request.time_limit_s ? std::to_string(*request.time_limit_s - request.signal_ahead_s)
                           : "None",
      environment, command);
}

/// Keys of an Anyscale job, as anyscale/examples has them.
std::string anyscale_job(const Plan& plan, const JobRequest& request, const std::string& driver) {
  Json job = {{"name", request.name}, {"entrypoint", "python " + driver}, {"working_dir", "."}};
  if (!request.ray.image.empty()) job["image_uri"] = request.ray.image;
  if (!request.ray.compute_config.empty()) job["compute_config"] = request.ray.compute_config;
  // The driver itself starts the ranks anew.
  job["max_retries"] = 0;
  return fmt::format(
             "# {}; made by `meshplan submit --to ray`: `anyscale job submit -f job.yaml` here, "
             "or on a Ray cluster\n# `ray job submit --working-dir . -- python {}`.\n",
             mesh_text(plan), driver) +
         yaml(job);
}

}  // namespace

JobFiles ray_job(const Plan& plan, const JobRequest& request) {
  const std::string driver = safe_name(request.name) + ".py";
  const std::string script =
      fmt::format("\"\"\"{}; made by `meshplan submit --to ray` for Ray 2.9 and newer.\n",
                  mesh_text(plan)) +
      kImports + constants(plan, request) + kDriver;
  return {{"job.yaml", anyscale_job(plan, request, driver)},
          {driver, script},
          {"plan.json", to_json(plan).dump(2) + "\n"}};
}

}  // namespace meshplan::planner
