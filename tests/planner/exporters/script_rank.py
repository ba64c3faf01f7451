"""Trains by a script exported for Ray Train, its ray replaced by what torchrun gives.

    torchrun --nproc-per-node 4 script_rank.py SCRIPT CONFIG

CONFIG is the loop's configuration, as JSON. Rank 0 prints the loss of each step, as JSON.
"""
import importlib.util
import json
import sys
import types
from unittest import mock

import torch
import torch.distributed as dist


def load(path):
    """The script as a module, with a ray that knows this rank."""
    ray = {name: types.ModuleType(name) for name in ("ray", "ray.train", "ray.train.torch")}
    ray["ray"].train = ray["ray.train"]
    ray["ray.train"].torch = ray["ray.train.torch"]
    for name in ("RunConfig", "ScalingConfig"):
        setattr(ray["ray.train"], name, mock.Mock())
    ray["ray.train.torch"].TorchTrainer = mock.Mock()
    ray["ray.train.torch"].get_device = lambda: torch.device("cpu")
    ray["ray.train"].get_context = lambda: mock.Mock(get_world_rank=dist.get_rank)
    losses = []
    ray["ray.train"].report = lambda report: losses.append(report["loss"])
    sys.modules.update(ray)
    spec = importlib.util.spec_from_file_location("exported", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, losses


def main():
    torch.set_num_threads(1)
    script, losses = load(sys.argv[1])
    dist.init_process_group("gloo")
    script.train_loop_per_worker(json.loads(sys.argv[2]))
    if dist.get_rank() == 0:
        print(json.dumps(losses))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
