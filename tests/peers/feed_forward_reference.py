"""The peer of the feed-forward demo: the same job with PyTorch's own FSDP2 and DTensor tensor parallelism.

    torchrun --standalone --nproc-per-node 4 feed_forward_reference.py --model DIR/model --data DIR/rows.safetensors --dp 2 --tp 2

It parallelizes and trains as the full example of Lightning's page "2D Parallelism (Tensor Parallelism + FSDP)" does
(docs/source-pytorch/advanced/model_parallel/tp_fsdp.rst): w1 and w3 column-parallel, w2 row-parallel; each linear layer an FSDP unit of its
own, and the model around them; AdamW at 3e-3; the loss is the sum of the outputs. Rank 0 prints one JSON object a step (step, loss,
seconds) and a last one with the median step time. FSDP averages gradients over the data-parallel ranks, so the loss printed is their mean
of each rank's sum. torch's DistributedSampler (shuffle, seed) deals the rows, as the Trainer has it deal them.

Runs on CPUs (Gloo) or GPUs (NCCL).
"""
import argparse
import json
import os
import pathlib
import statistics
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


class FeedForward(nn.Module):
    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.w1 = nn.Linear(dim, hidden_dim, bias=False)
        self.w2 = nn.Linear(hidden_dim, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden_dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


def load_model(folder: pathlib.Path) -> FeedForward:
    config = json.loads((folder / "config.json").read_text())
    model = FeedForward(config["hidden_size"], config["intermediate_size"])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="safetensors file with a tensor rows [N, dim]")
    parser.add_argument("--dp", type=int, default=1)
    parser.add_argument("--tp", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="compute dtype; masters stay float32")
    parser.add_argument("--fused-optimizer", action="store_true")
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()

    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    else:
        torch.set_num_threads(1)
    dist.init_process_group("nccl" if gpu else "gloo")
    rank, device = dist.get_rank(), torch.device("cuda" if gpu else "cpu")
    mesh = init_device_mesh(device.type, (args.dp, args.tp), mesh_dim_names=("dp", "tp"))

    model = load_model(args.model).to(device)
    if args.tp > 1:
        parallelize_module(model, mesh["tp"], {"w1": ColwiseParallel(), "w2": RowwiseParallel(), "w3": ColwiseParallel()})
    compute = getattr(torch, args.dtype)
    if args.dp > 1 or compute != torch.float32:
        policy = MixedPrecisionPolicy() if compute == torch.float32 else MixedPrecisionPolicy(param_dtype=compute,
                                                                                               reduce_dtype=torch.float32)
        for module in (model.w1, model.w2, model.w3, model):
            fully_shard(module, mesh=mesh["dp"], mp_policy=policy)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, fused=args.fused_optimizer)

    dataset = TensorDataset(load_file(args.data)["rows"])
    sampler = DistributedSampler(dataset, num_replicas=args.dp, rank=rank // args.tp, shuffle=True, seed=args.seed)
    batches = iter(DataLoader(dataset, batch_size=args.batch_size, sampler=sampler, drop_last=True))

    model.train()
    seconds = []
    for step in range(args.steps):
        rows = next(batches)[0].to(device)
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = model(rows).sum()
        loss.backward()
        optimizer.step()
        if gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        mean = loss.detach().double()
        dist.all_reduce(mean, group=mesh["dp"].get_group())
        if rank == 0:
            print(json.dumps({"step": step, "loss": mean.item() / args.dp, "seconds": seconds[-1]}), flush=True)
    if rank == 0:
        print(json.dumps({"median_step_seconds": statistics.median(seconds[min(2, len(seconds) - 1):])}), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
