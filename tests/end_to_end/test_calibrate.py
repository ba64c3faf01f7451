"""A short form of benchmarks/calibrated_steps, whose bars are for a quiet machine: here steps are predicted within a factor of four."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MESHPLAN = os.environ["MESHPLAN"]


class Calibrate(unittest.TestCase):
    def test_predicts_steps_from_a_file_that_plans_are_made_of(self):
        with tempfile.TemporaryDirectory() as work:
            ended = subprocess.run([sys.executable, "-B", str(ROOT / "benchmarks/calibrated_steps"), "--meshplan", MESHPLAN, "--work", work,
                                    "--ranks", "2", "--first", "2", "--steps", "6", "--json"], capture_output=True, text=True)
            self.assertIn(ended.returncode, (0, 1), ended.stderr)
            result = json.loads(ended.stdout)
            print(ended.stderr)
            self.assertLess(result["calibration_s"]["2"], 120)
            self.assertEqual(len(result["rows"]), 2)
            for row in result["rows"]:
                self.assertGreater(row["estimated_s"], row["measured_s"] / 4, row)
                self.assertLess(row["estimated_s"], row["measured_s"] * 4, row)
            cluster = json.loads(pathlib.Path(work, "cluster-2.json").read_text())
            self.assertEqual((cluster["nodes"], cluster["devices_per_node"]), (1, 2))
            self.assertGreater(cluster["device"]["attention_flops_per_s"], 0)
            planned = subprocess.run([MESHPLAN, "plan", "--model", "demo-qwen2", "--cluster", str(pathlib.Path(work, "cluster-2.json")),
                                      "--seq-length", "128", "--json"], capture_output=True, text=True)
            self.assertEqual(planned.returncode, 0, planned.stderr)


if __name__ == "__main__":
    unittest.main()
