"""Trains by a script exported for Ray Train, its ray replaced by what torchrun gives; or by plain PyTorch on one rank.

    torchrun --nproc-per-node 4 script_rank.py SCRIPT STEPS
    python script_rank.py SCRIPT STEPS --plain

Prints the loss of each step, as JSON.
"""
import importlib.util
import json
import os
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


def plain_losses(script, config):
    """The same samples, dealt and shuffled alike, through one model that nothing splits."""
    dp = script.DP_REPLICATE * script.DP_SHARD
    count = script.MICROBATCH_SIZE * script.ACCUMULATION
    dataset = script.TokenWindows()
    indices = [list(script.DistributedSampler(dataset, num_replicas=dp, rank=rank, seed=config["seed"]))
               for rank in range(dp)]
    model = script.make_model(config["weights"], config["seed"])
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["learning_rate"], weight_decay=config["weight_decay"])
    for step in range(config["steps"]):
        rows = [dataset[i] for rank in indices for i in rank[step * count : (step + 1) * count]]
        tokens = torch.stack(rows)
        logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def main():
    torch.set_num_threads(1)
    script, losses = load(sys.argv[1])
    config = dict(weights=None, tokens=None, seed=3, steps=int(sys.argv[2]), learning_rate=1e-3, weight_decay=0.01)
    if "--plain" in sys.argv:
        print(json.dumps(list(plain_losses(script, config))))
        return
    dist.init_process_group("gloo")
    script.train_loop_per_worker(config)
    if os.environ["RANK"] == "0":
        print(json.dumps(losses))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
