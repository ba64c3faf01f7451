"""Inputs of the feed-forward demo for meshplan and its peer, feed_forward_reference.py: OUT/model (config.json and the weights that
torch.nn.Linear begins with) and OUT/rows.safetensors (normal numbers, as Lightning's RandomDataset has them).

    make_feed_forward_inputs.py --out DIR --dim 1024 --hidden-dim 1024 --rows 640
"""
import argparse
import json
import pathlib

import torch
from feed_forward_reference import FeedForward
from safetensors.torch import save_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--dim", type=int, default=8192)
    parser.add_argument("--hidden-dim", type=int, default=8192)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    model = args.out / "model"
    model.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "meshplan_feed_forward", "hidden_size": args.dim, "intermediate_size": args.hidden_dim}
    (model / "config.json").write_text(json.dumps(config, indent=2))
    save_file(FeedForward(args.dim, args.hidden_dim).state_dict(), model / "model.safetensors", metadata={"format": "pt"})
    # Last: where it is there, all is.
    save_file({"rows": torch.randn(args.rows, args.dim)}, args.out / "rows.safetensors")


if __name__ == "__main__":
    main()
