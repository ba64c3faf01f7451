"""The trainers' own packages read what is exported for them, and understand it as the plan means it.

MESHPLAN names the program, MESHPLAN_TRAINERS a Python that has the trainers.
"""
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from plans import TRAINERS, base_plan, changed, export

READERS = {
    # Its models need a newer PyTorch than its configuration does: they are stood in for.
    "torchtitan-0.3": """
import dataclasses, importlib.util, pathlib, sys, types
path = pathlib.Path(sys.prefix) / "torchtitan-0.3" / "torchtitan" / "config" / "configs.py"
spec = importlib.util.spec_from_file_location("configs", path)
configs = sys.modules["configs"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(configs)
def made(kind):
    return dataclasses.field(default_factory=kind)
@dataclasses.dataclass(slots=True)
class Config:
    model_spec: object = None
    loss: object = None
    activation_checkpoint: object = None
    training: object = made(configs.TrainingConfig)
    parallelism: object = made(configs.ParallelismConfig)
    compile: object = made(configs.CompileConfig)
class Component:
    class Config:
        def __init__(self, **arguments):
            self.arguments = arguments
stand_ins = {"components.loss": dict(ChunkedLossWrapper=Component, CrossEntropyLoss=Component),
             "distributed.activation_checkpoint": dict(FullAC=Component), "models.llama3": dict(model_registry=str),
             "models.llama3.config_registry": dict(llama3_8b=Config)}
for name in ("", "components", "distributed", "models"):
    sys.modules[f"torchtitan.{name}".rstrip(".")] = types.ModuleType("torchtitan")
for name, content in stand_ins.items():
    module = sys.modules[f"torchtitan.{name}"] = types.ModuleType(name)
    module.__dict__.update(content)
scope = {}
exec(open(sys.argv[1]).read(), scope)
config = scope["planned"]()
answer = {name: dataclasses.asdict(getattr(config, name)) for name in ("training", "parallelism", "compile")}
answer["chunks"] = config.loss.arguments.get("num_chunks", 1)
""",
    "torchtitan": """
import dataclasses, logging, sys, tomllib
logging.disable()
from torchtitan.config import ConfigManager
config = ConfigManager().parse_args(["--job.config_file=" + sys.argv[1]])
answer = dataclasses.asdict(config)
# The manager passes over keys that it does not know.
def known(read, config, place):
    for key, value in read.items():
        assert hasattr(config, key), f"{place}{key}"
        if isinstance(value, dict):
            known(value, getattr(config, key), f"{place}{key}.")
known(tomllib.load(open(sys.argv[1], "rb")), config, "")
""",
    "accelerate": """
import os, sys, unittest.mock
from accelerate.commands import launch
from accelerate.parallelism_config import ParallelismConfig
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env
parser = launch.launch_command_parser()
args = parser.parse_args(["--config_file", sys.argv[1], "--main_process_ip", "127.0.0.1", "--main_process_port", "29400", "train.py"])
with unittest.mock.patch("torch.cuda.is_available", return_value=True):
    args, _, _ = launch._validate_launch_command(args)
os.environ.update(prepare_multi_gpu_env(args))
answer = {"num_processes": args.num_processes, "num_machines": args.num_machines, "use_fsdp": args.use_fsdp,
          "mixed_precision": args.mixed_precision, "parallelism": ParallelismConfig()._sizes}
if args.use_fsdp:
    plugin = FullyShardedDataParallelPlugin()
    plugin.set_mixed_precision(args.mixed_precision)
    answer |= {"fsdp_version": plugin.fsdp_version, "reshard": plugin.reshard_after_forward,
               "checkpointing": plugin.activation_checkpointing, "wrapped": plugin.transformer_cls_names_to_wrap,
               "reduce": str(plugin.mixed_precision_policy.reduce_dtype), "param": str(plugin.mixed_precision_policy.param_dtype)}
""",
}


def read(target, plan, *arguments):
    """What the trainer's package makes of the exported file."""
    text, answer = export(plan, target)
    assert text is not None, answer
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exported"
        path = path.with_suffix({"torchtitan": ".toml", "torchtitan-0.3": ".py", "accelerate": ".yaml"}[target])
        path.write_text(text)
        # What a package prints goes to stderr.
        code = ("import sys; out = sys.stdout; sys.stdout = sys.stderr\n" + READERS[target] +
                "\nimport json; print(json.dumps(answer, default=str), file=out)")
        ended = subprocess.run([TRAINERS, "-c", code, path, *map(str, arguments)], capture_output=True, text=True, timeout=280,
                               cwd=folder, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])


@unittest.skipUnless(TRAINERS.is_file(), "left out, as scripts/bootstrap could not install the trainers")
class Trainers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.plan = base_plan("llama-3.1-8b", "h100-sxm", "--nodes", 4, "--seq-length", 8192, "--tp", 8, "--dp-shard", 4,
                             "--accumulation", 4, "--max-grad-norm", 1)

    def test_torchtitan(self):
        for layout in ({}, dict(pp=2, dp_shard=2, gradient_accumulation="unsharded", activation_checkpointing="full")):
            plan = changed(self.plan, **layout)
            config = read("torchtitan", plan)
            sizes, batch = plan["layout"], config["training"]
            self.assertEqual([config["parallelism"][f"{axis}_degree"] for axis in
                              ("data_parallel_replicate", "data_parallel_shard", "tensor_parallel", "context_parallel",
                               "pipeline_parallel")],
                             [sizes[axis] for axis in ("dp_replicate", "dp_shard", "tp", "cp", "pp")])
            per_rank = sizes["microbatch_size"] * (sizes["accumulation"] if sizes["pp"] > 1 else 1)
            self.assertEqual((batch["local_batch_size"], batch["seq_len"], batch["max_norm"]), (per_rank, 8192, 1.0))
            self.assertEqual(batch["global_batch_size"],
                             sizes["microbatch_size"] * sizes["accumulation"] * sizes["dp_shard"])
            self.assertEqual(config["activation_checkpoint"]["mode"], "full" if sizes["pp"] > 1 else "none")

    @unittest.skipUnless((TRAINERS.parents[1] / "torchtitan-0.3").is_dir(), "left out, as torchtitan 0.3.0 is not there")
    def test_torchtitan_03(self):
        plan = changed(self.plan, pp=2, dp_shard=2, gradient_accumulation="unsharded", loss_chunks=8)
        config = read("torchtitan-0.3", plan)
        sizes, training = config["parallelism"], config["training"]
        self.assertEqual((sizes["data_parallel_shard_degree"], sizes["tensor_parallel_degree"], sizes["pipeline_parallel_degree"]),
                         (2, 8, 2))
        batch = plan["layout"]["microbatch_size"]
        self.assertEqual((training["local_batch_size"], training["global_batch_size"], training["seq_len"]),
                         (batch * 4, batch * 8, 8192))
        self.assertEqual((sizes["pipeline_parallel_microbatch_size"], config["chunks"]), (batch, 8))

    def test_accelerate(self):
        plan = changed(self.plan, {"reduce_dtype": "bfloat16"}, dp_replicate=2, dp_shard=2, sequence_parallel=False,
                       activation_checkpointing="full")
        answer = read("accelerate", plan)
        self.assertEqual(answer["parallelism"], {"dp_replicate": 2, "dp_shard": 2, "tp": 8, "cp": 1, "sp": 1})
        del answer["parallelism"]
        self.assertEqual(answer, {
            "num_processes": 32, "num_machines": 4, "use_fsdp": True, "mixed_precision": "bf16", "fsdp_version": 2, "reshard": True,
            "checkpointing": True, "wrapped": ["LlamaDecoderLayer"], "param": "torch.bfloat16", "reduce": "torch.bfloat16"})
        replicas = read("accelerate", changed(self.plan, dp_replicate=32, dp_shard=1, tp=1, sequence_parallel=False))
        self.assertEqual((replicas["use_fsdp"], replicas["num_processes"]), (False, 32))


if __name__ == "__main__":
    unittest.main()
