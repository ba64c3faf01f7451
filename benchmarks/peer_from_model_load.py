"""Runs tests/peers/fsdp2_tp_reference.py under libheap_counter.so with the heap's peak reset once the model is loaded."""
import os
import pathlib
import runpy

import heap_counts
import transformers

load = transformers.AutoModelForCausalLM.from_pretrained


def load_and_reset(*args, **kwargs):
    model = load(*args, **kwargs)
    heap_counts.reset_peak(pathlib.Path(os.environ["HEAP_COUNTER_FOLDER"]) / str(os.getpid()))
    return model


transformers.AutoModelForCausalLM.from_pretrained = load_and_reset
runpy.run_path(str(pathlib.Path(__file__).parents[1] / "tests" / "peers" / "fsdp2_tp_reference.py"), run_name="__main__")
