#include "planner/plan/exporters/script.h"

#include <fmt/format.h>

#include "planner/plan/exporters/quoting.h"

namespace meshplan::planner {
namespace {

constexpr const char* kFunctions = R"python(

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
)python";

constexpr const char* kImports = R"python(import argparse
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
)python";

const char* python(bool value) { return value ? "True" : "False"; }

std::string torch_type(common::DataType type) {
  return std::string("torch.") + common::to_string(type);
}

std::string constants(const Plan& plan) {
  const Layout& layout = plan.layout;
  const AxisSizes& sizes = layout.mesh.sizes;
  common::Json model = to_json(plan.model);
  model.erase("_name_or_path");
  const std::int64_t checkpointed =
      checkpoints_fully(plan) ? layout.checkpointed_blocks.value_or(plan.model.num_hidden_layers)
                              : 0;
  return fmt::format(
      "\nMODEL = json.loads({})\n"
      "DP_REPLICATE, DP_SHARD, TP = {}, {}, {}\n"
      "RANKS_PER_NODE, NODES = {}, {}\n"
      "SEQ_LENGTH, MICROBATCH_SIZE, ACCUMULATION = {}, {}, {}\n"
      "PARAM_DTYPE, REDUCE_DTYPE, MASTER_DTYPE = {}, {}, {}\n"
      "RESHARD_AFTER_FORWARD, BLOCKS_KEPT_GATHERED, PREFETCH_DEPTH = {}, {}, {}\n"
      "REDUCE_EACH_MICROBATCH = {}\n"
      "CHECKPOINTED_BLOCKS = {}\n"
      "MAX_GRAD_NORM = {}\n"
      "DECAY_NORMS_AND_BIASES = {}\n",
      literal(model.dump(-1, ' ', true)), sizes[Axis::kDpReplicate], sizes[Axis::kDpShard],
      sizes[Axis::kTp], layout.mesh.ranks_per_node, node_count(plan), plan.job.seq_length,
      layout.microbatch_size, layout.accumulation, torch_type(plan.job.param_dtype),
      torch_type(plan.job.reduce_dtype), torch_type(plan.job.master_dtype),
      python(!stays_gathered(plan)), layout.blocks_kept_gathered, layout.prefetch_depth,
      python(!accumulates_whole_gradients(layout)), checkpointed, decimal(plan.job.max_grad_norm),
      python(plan.job.decay_norms_and_biases));
}

}  // namespace

std::vector<std::string> script_refusals(const Plan& plan) {
  std::vector<std::string> refused;
  const std::int64_t tp = plan.layout.mesh.sizes[Axis::kTp];
  if (block_class(plan.model) == nullptr || plan.model.moe.num_experts > 0) {
    refused.push_back(fmt::format(
        "model={}: the script splits llama, mistral, qwen2 and qwen3 without experts; plan for one "
        "of these",
        plain(plan.model.name)));
  }
  if (plan.model.qk_norm && tp > 1) {
    refused.push_back(fmt::format(
        "tp={} with norms of queries and keys: DTensor does not sum their gradients over tp; plan "
        "with --tp 1",
        tp));
  }
  if (!stays_gathered(plan) && plan.layout.prefetch_depth == 0 &&
      plan.layout.mesh.sizes[Axis::kDpShard] > 1)
    refused.emplace_back(
        "prefetch_depth=0: FSDP2 gathers one unit ahead at least; plan with --prefetch-depth 1");
  return refused;
}

std::string script_core(const Plan& plan) {
  return std::string(kImports) + constants(plan) + kFunctions;
}

}  // namespace meshplan::planner
