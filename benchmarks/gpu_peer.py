#!/usr/bin/env python3
"""The job of meshplan on one GPU, in plain PyTorch: a Hugging Face Llama in bfloat16 with float32 masters, scaled-dot-product attention and
fused AdamW, eager or compiled as a whole. Prints one JSON object a sequence length: median step time, tokens/s, peak memory.

    benchmarks/gpu_peer.py --config model/config.json --seq-lengths 4096 8192 [--compile] [--steps 12]

Without a GPU it runs the same on CPU, for a small config.
"""
import argparse
import json
import statistics
import time

import torch
import transformers


class MastersInFloat32:
    """AdamW on float32 copies of a bfloat16 model's parameters."""

    def __init__(self, model: torch.nn.Module, learning_rate: float):
        self.parameters = list(model.parameters())
        self.masters = [p.detach().float().clone() for p in self.parameters]
        for master in self.masters:
            master.grad = torch.empty_like(master)
        self.optimizer = torch.optim.AdamW(self.masters, lr=learning_rate, weight_decay=0.01, fused=True)

    @torch.no_grad()
    def step(self) -> None:
        torch._foreach_copy_([m.grad for m in self.masters], [p.grad for p in self.parameters])
        for p in self.parameters:
            p.grad = None
        self.optimizer.step()
        torch._foreach_copy_(self.parameters, self.masters)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="a Hugging Face config.json")
    parser.add_argument("--seq-lengths", type=int, nargs="+", required=True)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    config = transformers.AutoConfig.from_pretrained(args.config)
    config.attn_implementation = "sdpa"
    with device:
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
    model.train()
    optimizer = MastersInFloat32(model, learning_rate=1e-5)
    forward = torch.compile(model, dynamic=False) if args.compile else model

    for seq_length in args.seq_lengths:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds, loss = [], None
        for _ in range(args.warm_up + args.steps):
            ids = torch.randint(config.vocab_size, (args.batch_size, seq_length), device=device)
            if device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            loss = forward(input_ids=ids, labels=ids, use_cache=False).loss
            loss.backward()
            optimizer.step()
            loss = loss.item()  # as ours reports it: the host waits for the step
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        median = statistics.median(seconds[args.warm_up:])
        print(json.dumps({
            "mode": "compiled" if args.compile else "eager", "seq_length": seq_length, "step_time_s": median,
            "tokens_per_second": args.batch_size * seq_length / median, "loss": loss,
            "peak_memory_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else None}), flush=True)


if __name__ == "__main__":
    main()
