"""An exported script trains on CPUs over the planned mesh, and its losses are those of one unsplit model.

MESHPLAN names the program. What starts the ranks is not here: ray's part is played by script_rank.py.
"""
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from plans import base_plan, changed, export

STEPS = 3
TOLERANCE = 2e-5


def losses(command):
    ended = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])


class Scripts(unittest.TestCase):
    def test_losses_are_those_of_one_unsplit_model(self):
        plan = base_plan("demo-qwen2", "local-cpu", "--nodes", 1, "--gpus-per-node", 4, "--seq-length", 64, "--tp", 2,
                         "--dp-shard", 2, "--accumulation", 2, "--sequence-parallel", "off")
        cases = {
            "full_shard": changed(plan, activation_checkpointing="full", checkpointed_blocks=1, blocks_kept_gathered=1,
                                  prefetch_depth=2),
            "hybrid_shard, unsharded accumulation": changed(plan, dp_replicate=2, tp=1, sharding="hybrid_shard_zero2",
                                                            gradient_accumulation="unsharded"),
        }
        here = Path(__file__).parent / "script_rank.py"
        for name, case in cases.items():
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                script = Path(folder) / "train.py"
                text, answer = export(case, "ray-train")
                self.assertIsNotNone(text, answer)
                script.write_text(text)
                split = losses(["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4", here, script,
                                str(STEPS)])
                plain = losses([here, script, str(STEPS), "--plain"])
                self.assertEqual(len(split), STEPS)
                apart = max(abs(a - b) / b for a, b in zip(split, plain, strict=True))
                print(f"{name}: losses at most {apart:.1e} apart, {TOLERANCE:.0e} allowed")
                self.assertLess(apart, TOLERANCE)
                self.assertLess(split[-1], split[0])


if __name__ == "__main__":
    unittest.main()
