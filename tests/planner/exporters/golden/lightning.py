# For Lightning 2.6.5 (Python); written by meshplan 0.1.0
# qwen2.5-0.5b on h100-sxm: pp 1 x dp_replicate 1 x dp_shard 4 x cp 1 x tp 2
import lightning as L
from lightning.pytorch.strategies import ModelParallelStrategy
import argparse
import contextlib
import json

import numpy as np
import torch
import torch.nn.functional as F
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, loss_parallel, parallelize_module
from torch.utils.data import DataLoader, Dataset
from transformers import AutoConfig, AutoModelForCausalLM

MODEL = json.loads("{\"architectures\":[\"Qwen2ForCausalLM\"],\"model_type\":\"qwen2\",\"hidden_size\":896,\"intermediate_size\":4864,\"num_hidden_layers\":24,\"num_attention_heads\":14,\"num_key_value_heads\":2,\"head_dim\":64,\"vocab_size\":151936,\"max_position_embeddings\":32768,\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-06,\"rope_theta\":1000000.0,\"rope_scaling\":null,\"tie_word_embeddings\":true,\"initializer_range\":0.02,\"use_sliding_window\":false,\"sliding_window\":null,\"max_window_layers\":24}")
DP_REPLICATE, DP_SHARD, TP = 1, 4, 2
RANKS_PER_NODE, NODES = 8, 1
SEQ_LENGTH, MICROBATCH_SIZE, ACCUMULATION = 2048, 32, 2
PARAM_DTYPE, REDUCE_DTYPE, MASTER_DTYPE = torch.bfloat16, torch.float32, torch.float32
RESHARD_AFTER_FORWARD, BLOCKS_KEPT_GATHERED, PREFETCH_DEPTH = True, 0, 1
REDUCE_EACH_MICROBATCH = True
CHECKPOINTED_BLOCKS = 3
MAX_GRAD_NORM = 1.0
DECAY_NORMS_AND_BIASES = True


class TokenWindows(Dataset):
    """Windows of SEQ_LENGTH + 1 tokens of a file of 32-bit token numbers; random ones without a file."""

    def __init__(self, path=None):
        self.tokens = None if path is None else np.memmap(path, dtype=np.int32, mode="r")

    def __len__(self):
        return 1 << 20 if self.tokens is None else (len(self.tokens) - 1) // SEQ_LENGTH

    def __getitem__(self, index):
        if self.tokens is None:
            generator = torch.Generator().manual_seed(index)
            return torch.randint(MODEL["vocab_size"], (SEQ_LENGTH + 1,), generator=generator)
        start = index * SEQ_LENGTH
        return torch.from_numpy(self.tokens[start : start + SEQ_LENGTH + 1].astype(np.int64))


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


def train_step(model, optimizer, tokens):
    """One step on ACCUMULATION microbatches, [ACCUMULATION * MICROBATCH_SIZE, SEQ_LENGTH + 1]; the rank's loss."""
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for number, microbatch in enumerate(tokens.chunk(ACCUMULATION)):
        last = number == ACCUMULATION - 1
        if not REDUCE_EACH_MICROBATCH:
            model.set_requires_gradient_sync(last)
        if not RESHARD_AFTER_FORWARD:
            model.set_reshard_after_backward(last)
        with loss_parallel() if TP > 1 else contextlib.nullcontext():
            logits = model(input_ids=microbatch[:, :-1], use_cache=False).logits
            loss = F.cross_entropy(logits.flatten(0, 1).float(), microbatch[:, 1:].flatten()) / ACCUMULATION
            loss.backward()
        total += (loss.full_tensor() if isinstance(loss, DTensor) else loss).item()
    if MAX_GRAD_NORM > 0:
        clip_gradients(model)
    optimizer.step()
    return total


class Planned(L.LightningModule):
    """Steps are taken by hand: FSDP2 is told which microbatch is the last one."""

    def __init__(self, arguments):
        super().__init__()
        self.automatic_optimization = False
        self.arguments = arguments
        self.model = None

    def configure_model(self):
        if self.model is not None:
            return
        mesh = self.device_mesh
        self.model = parallelize_plan(make_model(self.arguments.weights, self.arguments.seed).to(mesh.device_type),
                                      mesh["tensor_parallel"], mesh["data_parallel"])

    def configure_optimizers(self):
        return make_optimizer(self.model, self.arguments.learning_rate, self.arguments.weight_decay)

    def training_step(self, tokens, index):
        loss = train_step(self.model, self.optimizers(), tokens)
        self.log("loss", loss, prog_bar=True)


def main():
    parser = argparse.ArgumentParser(description="Trains as planned; start it once for each node as Lightning asks for")
    parser.add_argument("--tokens", help="file of 32-bit token numbers (default: random ones)")
    parser.add_argument("--weights", help="Hugging Face folder to start from (default: random weights)")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--accelerator", default="cuda")
    arguments = parser.parse_args()

    # The strategy gives each data-parallel rank its share of the samples.
    loader = DataLoader(TokenWindows(arguments.tokens), batch_size=MICROBATCH_SIZE * ACCUMULATION, drop_last=True)
    strategy = ModelParallelStrategy(data_parallel_size=DP_SHARD, tensor_parallel_size=TP)
    trainer = L.Trainer(accelerator=arguments.accelerator, devices=RANKS_PER_NODE, num_nodes=NODES, strategy=strategy,
                        max_steps=arguments.steps, log_every_n_steps=1, enable_checkpointing=False)
    trainer.fit(Planned(arguments), loader)


if __name__ == "__main__":
    main()
