"""Runs tests/peers/fsdp2_tp_reference.py with its gradient norm added up in float64.

torch's CPU norm of a float32 tensor adds up in float32: over the half million gradients of a small embedding it is off by 1e-4,
more than the parity that is to be shown. Losses and the training itself are untouched.
"""
import pathlib
import runpy

import torch

float32_norm = torch.linalg.vector_norm


def float64_norm(tensor, *args, **kwargs):
    return float32_norm(tensor, *args, **{"dtype": torch.float64, **kwargs})


torch.linalg.vector_norm = float64_norm
runpy.run_path(str(pathlib.Path(__file__).parents[1] / "peers" / "fsdp2_tp_reference.py"), run_name="__main__")
