# For Ray Train 2 (Python); written by meshplan 0.1.0
# qwen2.5-0.5b on h100-sxm: pp 1 x dp_replicate 2 x dp_shard 2 x cp 1 x tp 2
import ray.train
import ray.train.torch
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from torch.distributed.device_mesh import init_device_mesh
import argparse
import contextlib
import json
import struct

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, loss_parallel, parallelize_module
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler
from transformers import AutoConfig, AutoModelForCausalLM

MODEL = json.loads("{\"architectures\":[\"Qwen2ForCausalLM\"],\"model_type\":\"qwen2\",\"hidden_size\":896,\"intermediate_size\":4864,\"num_hidden_layers\":24,\"num_attention_heads\":14,\"num_key_value_heads\":2,\"head_dim\":64,\"vocab_size\":151936,\"max_position_embeddings\":32768,\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-06,\"rope_theta\":1000000.0,\"rope_scaling\":null,\"tie_word_embeddings\":true,\"initializer_range\":0.02,\"use_sliding_window\":false,\"sliding_window\":null,\"max_window_layers\":24}")
DP_REPLICATE, DP_SHARD, TP = 2, 2, 2
RANKS_PER_NODE, NODES = 8, 1
SEQ_LENGTH, MICROBATCH_SIZE, ACCUMULATION = 2048, 32, 2
PARAM_DTYPE, REDUCE_DTYPE, MASTER_DTYPE = torch.bfloat16, torch.bfloat16, torch.float32
RESHARD_AFTER_FORWARD, BLOCKS_KEPT_GATHERED, PREFETCH_DEPTH = True, 4, 2
REDUCE_EACH_MICROBATCH = True
CHECKPOINTED_BLOCKS = 0
MAX_GRAD_NORM = 0.0
DECAY_NORMS_AND_BIASES = True
LOSS_OVER_GLOBAL_TOKENS = True

IGNORED = -100  # the label of a position that predicts nothing


class IndexedSequences(Dataset):
    """Sequences of a Megatron indexed dataset, PREFIX.bin and PREFIX.idx, cut or padded to SEQ_LENGTH: tokens and labels."""

    TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}

    def __init__(self, prefix):
        with open(prefix + ".idx", "rb") as index:
            magic, _, code, count, _ = struct.unpack("<9sQBQQ", index.read(34))
            if magic != b"MMIDIDX\x00\x00" or code not in self.TYPES:
                raise ValueError(f"{prefix}.idx: not the index of a Megatron indexed dataset of integers")
            lengths = np.frombuffer(index.read(4 * count), "<i4")
            places = np.frombuffer(index.read(8 * count), "<i8")
        used = lengths > 1  # one token predicts nothing
        self.lengths = np.minimum(lengths[used], SEQ_LENGTH)
        self.tokens = np.memmap(prefix + ".bin", self.TYPES[code], mode="r")
        self.starts = places[used] // self.tokens.itemsize

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, index):
        start, length = self.starts[index], self.lengths[index]
        tokens, labels = np.zeros(SEQ_LENGTH, np.int64), np.full(SEQ_LENGTH, IGNORED, np.int64)
        tokens[:length] = self.tokens[start : start + length]
        labels[: length - 1] = tokens[1:length]
        return torch.from_numpy(tokens), torch.from_numpy(labels)


class RandomSequences(Dataset):
    """Made-up samples, a function of their number alone."""

    def __len__(self):
        return 65536

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        tokens = torch.randint(MODEL["vocab_size"], (SEQ_LENGTH,), generator=generator)
        return tokens, torch.cat([tokens[1:], torch.tensor([IGNORED])])


def make_loader(prefix, dp_rank, seed):
    """A step's batches of a data-parallel rank; ranks of a tp group see the same samples."""
    dataset = RandomSequences() if prefix is None else IndexedSequences(prefix)
    sampler = DistributedSampler(dataset, num_replicas=DP_REPLICATE * DP_SHARD, rank=dp_rank, seed=seed)
    loader = DataLoader(dataset, batch_size=MICROBATCH_SIZE * ACCUMULATION, sampler=sampler, drop_last=True)
    if len(loader) == 0:
        raise ValueError(f"{prefix}: {len(dataset)} sequences are too few for one step")
    return loader


def make_model(weights=None, seed=42):
    """The same weights on every rank: a checkpoint's, or random ones."""
    if weights is not None:
        return AutoModelForCausalLM.from_pretrained(weights, dtype=MASTER_DTYPE)
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**MODEL), dtype=MASTER_DTYPE)


def split_over_tp(model, mesh):
    """Column, then row parallel in each block; embedding and output head split by vocabulary."""
    for block in model.model.layers:
        parallelize_module(block, mesh, {
            "self_attn.q_proj": ColwiseParallel(), "self_attn.k_proj": ColwiseParallel(),
            "self_attn.v_proj": ColwiseParallel(), "self_attn.o_proj": RowwiseParallel(),
            "mlp.gate_proj": ColwiseParallel(), "mlp.up_proj": ColwiseParallel(),
            "mlp.down_proj": RowwiseParallel(),
        })
    parallelize_module(model, mesh, {
        "model.embed_tokens": RowwiseParallel(input_layouts=Replicate()),
        "lm_head": ColwiseParallel(output_layouts=Shard(-1), use_local_output=False),
    })
    if MODEL["tie_word_embeddings"]:
        model.lm_head.weight = model.model.embed_tokens.weight


def shard_units(model, mesh):
    """A unit of FSDP2 for the embedding, each block, and final norm with head; all of them tied."""
    policy = MixedPrecisionPolicy(param_dtype=PARAM_DTYPE, reduce_dtype=REDUCE_DTYPE)
    blocks = model.model.layers
    for number in range(CHECKPOINTED_BLOCKS):
        blocks[number] = checkpoint_wrapper(blocks[number])
    for number, block in enumerate(blocks):
        reshard = RESHARD_AFTER_FORWARD and number < len(blocks) - BLOCKS_KEPT_GATHERED
        fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=reshard)
    if not MODEL["tie_word_embeddings"]:
        fully_shard(model.model.embed_tokens, mesh=mesh, mp_policy=policy, reshard_after_forward=RESHARD_AFTER_FORWARD)
        fully_shard([model.model.norm, model.lm_head], mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    if PREFETCH_DEPTH > 1:
        for number, block in enumerate(blocks):
            block.set_modules_to_forward_prefetch(list(blocks[number + 1 : number + 1 + PREFETCH_DEPTH]))
            block.set_modules_to_backward_prefetch(list(blocks[max(0, number - PREFETCH_DEPTH) : number])[::-1])


def parallelize_plan(model, tp_mesh, dp_mesh):
    """Lays the model out over the meshes as planned, in place."""
    if TP > 1:
        split_over_tp(model, tp_mesh)
    shard_units(model, dp_mesh)
    return model


def make_optimizer(model, learning_rate, weight_decay):
    parameters = list(model.parameters())
    decayed = [p for p in parameters if DECAY_NORMS_AND_BIASES or p.ndim > 1]
    others = [p for p in parameters if not (DECAY_NORMS_AND_BIASES or p.ndim > 1)]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    # The kernels over many tensors refuse those of different meshes: tp replicates norms.
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=learning_rate, foreach=False)


def clip_gradients(model):
    """Scales them to MAX_GRAD_NORM where their norm is larger; parameters may lie on different meshes."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norms = [torch.linalg.vector_norm(g) for g in gradients]
    norms = [n.full_tensor() if isinstance(n, DTensor) else n for n in norms]
    norm = torch.linalg.vector_norm(torch.stack([n.float() for n in norms]))
    scale = min(1.0, MAX_GRAD_NORM / (norm.item() + 1e-6))
    for gradient in gradients:
        gradient.mul_(scale)


def over_dp(value):
    """The sum over data-parallel ranks; those of a tp group hold the same value."""
    dist.all_reduce(value)
    return value / TP


def train_step(model, optimizer, tokens, labels):
    """One step on ACCUMULATION microbatches, [ACCUMULATION * MICROBATCH_SIZE, SEQ_LENGTH]; the loss of the global batch."""
    dp = DP_REPLICATE * DP_SHARD
    optimizer.zero_grad(set_to_none=True)
    all_labels = over_dp((labels != IGNORED).sum()).item()
    total = torch.zeros((), device=tokens.device)
    for number, (ids, wanted) in enumerate(zip(tokens.chunk(ACCUMULATION), labels.chunk(ACCUMULATION))):
        last = number == ACCUMULATION - 1
        if not REDUCE_EACH_MICROBATCH:
            model.set_requires_gradient_sync(last)
        if not RESHARD_AFTER_FORWARD:
            model.set_reshard_after_backward(last)
        # Gradients are averaged over data-parallel ranks.
        weight = dp / all_labels if LOSS_OVER_GLOBAL_TOKENS else 1 / (wanted != IGNORED).sum().item() / ACCUMULATION
        with loss_parallel() if TP > 1 else contextlib.nullcontext():
            logits = model(input_ids=ids, use_cache=False).logits.flatten(0, 1).float()
            loss = F.cross_entropy(logits, wanted.flatten(), ignore_index=IGNORED, reduction="sum") * weight
            loss.backward()
        total += (loss.full_tensor() if isinstance(loss, DTensor) else loss).detach()
    if MAX_GRAD_NORM > 0:
        clip_gradients(model)
    optimizer.step()
    return over_dp(total).item() / dp


def add_arguments(parser):
    parser.add_argument("--data", metavar="PREFIX", help="Megatron indexed dataset (default: random tokens)")
    parser.add_argument("--weights", help="Hugging Face folder to start from (default: random weights)")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=42, help="of random weights and sample order")


def train_loop_per_worker(config):
    """One rank: Ray Train has joined it to the process group."""
    device = ray.train.torch.get_device()
    mesh = init_device_mesh(device.type, (DP_REPLICATE, DP_SHARD, TP), mesh_dim_names=("dp_replicate", "dp_shard", "tp"))
    dp_mesh = mesh["dp_replicate", "dp_shard"] if DP_REPLICATE > 1 else mesh["dp_shard"]
    model = parallelize_plan(make_model(config["weights"], config["seed"]).to(device), mesh["tp"], dp_mesh)
    model.train()
    optimizer = make_optimizer(model, config["learning_rate"], config["weight_decay"])

    dp_rank = ray.train.get_context().get_world_rank() // TP
    loader = make_loader(config["data"], dp_rank, config["seed"])
    step = epoch = 0
    while step < config["steps"]:
        loader.sampler.set_epoch(epoch)
        for tokens, labels in loader:
            ray.train.report({"step": step, "loss": train_step(model, optimizer, tokens.to(device), labels.to(device))})
            step += 1
            if step == config["steps"]:
                return
        epoch += 1


def main():
    parser = argparse.ArgumentParser(description="Trains as planned on a Ray cluster, one worker a rank")
    add_arguments(parser)
    parser.add_argument("--storage-path", help="folder that all nodes share")
    parser.add_argument("--experiment-name", default="planned")
    parser.add_argument("--cpu", action="store_true", help="on CPUs, for a trial")
    arguments = vars(parser.parse_args())
    run = RunConfig(storage_path=arguments.pop("storage_path"), name=arguments.pop("experiment_name"))
    scaling = ScalingConfig(num_workers=DP_REPLICATE * DP_SHARD * TP, use_gpu=not arguments.pop("cpu"))
    TorchTrainer(train_loop_per_worker, train_loop_config=arguments, run_config=run, scaling_config=scaling).fit()


if __name__ == "__main__":
    main()
