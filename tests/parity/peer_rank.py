"""One rank of the peer, tests/peers/fsdp2_tp_reference.py, trained once after another in the same process: importing PyTorch costs
more than a small model's training.

    peer_rank.py JOBS.json      with RANK, WORLD_SIZE and LOCAL_RANK set

JOBS is a list of {"arguments": [...], "store": FILE, "output": FILE}; rank 0 leaves what the peer prints in `output`, under that name
only once the training has ended well. The ranks meet through the file `store`, which must be new.

The peer's gradient norm is added up in float64: torch's CPU norm of a float32 tensor adds up in float32, and over the gradients of a
whole embedding it is off by 1e-4, more than the parity that is to be shown. Losses and the training itself are untouched.
"""
import contextlib
import importlib.util
import json
import os
import pathlib
import sys

import torch
import torch.distributed as dist

PEER = pathlib.Path(__file__).parents[1] / "peers" / "fsdp2_tp_reference.py"
float32_norm = torch.linalg.vector_norm
join_group = dist.init_process_group


def float64_norm(tensor, *args, **kwargs):
    return float32_norm(tensor, *args, **{"dtype": torch.float64, **kwargs})


def load_peer():
    specification = importlib.util.spec_from_file_location("peer", PEER)
    peer = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(peer)
    return peer


def main() -> None:
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.linalg.vector_norm = float64_norm
    peer = load_peer()
    for job in json.loads(pathlib.Path(sys.argv[1]).read_text()):
        store = dist.FileStore(job["store"], world_size)
        dist.init_process_group = lambda backend, store=store: join_group(backend, store=store, rank=rank, world_size=world_size)
        sys.argv[1:] = job["arguments"]
        unfinished = pathlib.Path(job["output"] + f".rank{rank}")
        with open(unfinished, "w") as output, contextlib.redirect_stdout(output):
            peer.main()
        if rank == 0:
            unfinished.rename(job["output"])
        else:
            unfinished.unlink()
    # Over Gloo, threads that are left over abort Python's own end now and then.
    os._exit(0)


if __name__ == "__main__":
    main()
