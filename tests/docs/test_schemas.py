"""What the programs write is what docs/schema says, and nothing else.

MESHPLAN names the program; run by the Python that has jsonschema (build/venv-docs).
"""
import copy
import json
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

ROOT = Path(__file__).resolve().parents[2]
MESHPLAN = Path(os.environ.get("MESHPLAN", ROOT / "build/release/bin/meshplan")).resolve()
FOLDER = ROOT / "docs/schema"
SCHEMAS = {path.name.removesuffix(".schema.json"): json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.schema.json"))}
REGISTRY = Registry().with_resources(
    (f"{name}.schema.json", Resource.from_contents(schema)) for name, schema in SCHEMAS.items()
)
JOB = "--model llama-3-8b --cluster h100-sxm --nodes 2 --seq-length 8192".split()
SMALL = "--model demo-qwen2 --cluster local-cpu --nodes 1 --gpus-per-node 2 --seq-length 64".split()


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"{name}.schema.json"}, registry=REGISTRY)


def objects_of(schema, path=""):
    """Every schema of an object in a schema, with its place."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield path, schema
        for key, value in schema.items():
            yield from objects_of(value, f"{path}/{key}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from objects_of(value, f"{path}/{index}")


class Formats(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = Path(temporary.name)
        cls.seen: set[str] = set()
        cls.run_program("plan", *JOB, "-o", "plan.json")

    @classmethod
    def run_program(cls, *arguments, code: int = 0) -> str:
        done = subprocess.run([MESHPLAN, *map(str, arguments)], cwd=cls.folder, capture_output=True, text=True, timeout=300)
        if done.returncode != code:
            raise AssertionError(f"meshplan {' '.join(map(str, arguments))}: exit code {done.returncode}, not {code}: {done.stderr}")
        return done.stdout

    def check(self, name: str, value) -> None:
        self.seen.add(name)
        checker = validator(name)
        faults = [f"{error.json_path}: {error.message[:300]}" for error in checker.iter_errors(value)]
        self.assertEqual(faults, [], f"{name}.schema.json")
        surprised = copy.deepcopy(value)
        surprised["a_new_key"] = 1
        self.assertFalse(checker.is_valid(surprised), f"{name}.schema.json lets a new key pass")

    def check_output(self, name: str, *arguments, code: int = 0) -> dict:
        value = json.loads(self.run_program(*arguments, "--json", code=code))
        self.check(name, value)
        return value

    def test_schemas_are_closed(self):
        for name, schema in SCHEMAS.items():
            Draft202012Validator.check_schema(schema)
            for path, inner in objects_of(schema):
                with self.subTest(schema=name, path=path):
                    self.assertIn("additionalProperties", inner, "say false, or what other values are")
                    if "properties" in inner:
                        self.assertIs(inner["additionalProperties"], False)

    def test_plans_and_clusters(self):
        plan = json.loads((self.folder / "plan.json").read_text())
        self.check("plan", plan)
        self.check("cluster", plan["cluster"])
        for arguments in (["--model", "mixtral-8x7b", "--cluster", "b200-sxm", "--seq-length", "4096", "--every-choice", "--top", "1"],
                          ["--model", "feed-forward-demo", "--cluster", "local-cpu"], SMALL):
            with self.subTest(arguments=arguments):
                self.run_program("plan", *arguments, "-o", "other.json")
                self.check("plan", json.loads((self.folder / "other.json").read_text()))

    def test_estimates(self):
        self.check_output("estimate", "estimate", *JOB, "--dp-shard", 2, "--tp", 8)
        self.check_output("estimate", "estimate", *JOB, "--dp-shard", 2, "--tp", 3, code=3)
        self.check_output("estimate", "estimate", *JOB, "--dp-replicate", 16, "--sharding", "no_shard", "--microbatch-size", 8, code=4)
        mixtral = ["--model", "mixtral-8x7b", "--cluster", "h100-sxm", "--nodes", 4, "--seq-length", 4096]
        self.check_output("estimate", "estimate", *mixtral, "--dp-shard", 32, "--ep", 8, "--optimizer-offload", "on")
        self.check_output("runtime_estimate", "estimate", *JOB, "--dp-shard", 16, "--runtime", "torch_compile")
        self.check_output("runtime_estimate", "estimate", *JOB, "--dp-shard", 16, "--runtime", "megatron", code=3)

    def test_rankings(self):
        self.check_output("ranking", "plan", *JOB, "--explain", "--pareto")
        self.check_output("ranking", "plan", *JOB, "--every-choice", "--top", 2)
        self.check_output("ranking", "plan", "--model", "llama-3.1-405b", "--cluster", "h100-sxm", "--seq-length", 8192, "--explain", code=4)

    def test_sweeps(self):
        self.check_output("what_if", "what-if", *JOB[:4], *JOB[6:], "--vary", "nodes=1,2", "--vary", "memory=0.2,1")

    def test_simulated_steps(self):
        self.check_output("simulate", "simulate", "plan.json")
        self.check_output("simulate", "simulate", "plan.json", "--slow-rank", "3:1.1", "--shared-links")

    def test_long_runs(self):
        self.check_output("goodput", "goodput", "plan.json", "--days", 54, "--mtbf-hours-per-gpu", 50000, "--checkpoint-seconds", 10)
        self.check_output("goodput", "goodput", "plan.json", "--days", 1, "--storage-bandwidth", 100, "--runs", 0)

    def test_validations(self):
        measurements = ROOT / "catalog/measurements"
        self.check_output("validate", "validate", measurements / "training_runs.csv")
        self.check_output("validate", "validate", measurements / "layout_sweep_h100.csv", "--sweep")
        self.check_output("validate_collectives", "validate", measurements / "collectives.csv")

    def test_the_catalog(self):
        catalog = self.check_output("catalog", "catalog")
        for model in catalog["models"]:
            self.assertGreaterEqual(model["parameters"], model["active_parameters"])
        for kind in ("models", "clusters", "gpus", "networks"):
            self.check_output("catalog", "catalog", kind)

    @unittest.skipUnless((MESHPLAN.parent / "meshplan-train").exists(), "no meshplan-train here: built without the executor")
    def test_what_a_run_leaves_behind(self):
        self.run_program("plan", *SMALL, "--dp-shard", 2, "-o", "small.json")
        self.run_program("train", "small.json", "--data", "synthetic", "--init", "random", "--debug-steps", 2, "--num-epochs", 1, "--checkpoint-interval", 1,
                         "--validation-data", "synthetic", "--validation-interval", 2, "--validation-steps", 1, "--experiment-name", "run")
        run = self.folder / "runs/run"
        for line in (run / "metrics.jsonl").read_text().splitlines():
            self.check("metrics", json.loads(line))
        for line in (run / "epochs.jsonl").read_text().splitlines():
            self.check("epochs", json.loads(line))
        self.check("plan", json.loads((run / "plan.json").read_text()))
        self.check("checkpoint_manifest", json.loads((run / "checkpoints/step-2/manifest.json").read_text()))
        self.check("checkpoint_metadata", json.loads((run / "checkpoints/step-2/metadata.json").read_text()))
        for verb in ("list", "verify"):
            self.check("checkpoint_list", json.loads(self.run_program("checkpoint", verb, run, "--json")))
        self.check_output("compare", "compare", "small.json", run)
        self.check_output("compare", "compare", "small.json", run, "--trace", "both.json.gz", "--trace-ranks", 0)

    @unittest.skipUnless((MESHPLAN.parent / "meshplan-train").exists(), "no meshplan-train here: built without the executor")
    def test_measured_clusters(self):
        self.run_program("calibrate", "--ranks", 1, "-o", "measured.json")
        self.check("calibrate", json.loads((self.folder / "measured.json").read_text()))

    def test_sessions_of_the_desktop_program(self):
        fields = re.findall(r"\{Field::k\w+,\s*\"(\w+)\"", (ROOT / "gui/models/fields.cpp").read_text())
        self.assertEqual(sorted(SCHEMAS["session"]["properties"]["inputs"]["properties"]), sorted(fields))
        layout = json.loads((self.folder / "plan.json").read_text())["layout"]
        session = {"schema_version": 1, "inputs": dict.fromkeys(fields, ""), "layout": layout}
        session["inputs"].update(model="llama-3-8b", cluster="h100-sxm", seq_length="8192", pp="1", cp="1", nodes="2")
        self.check("session", session)
        program = MESHPLAN.parent / "meshplan-gui"
        if not program.exists():
            self.skipTest("no meshplan-gui here: that it takes such a session is not checked")
        (self.folder / "all.meshplan.json").write_text(json.dumps(session))
        self.assertEqual(self.gui(program, "all.meshplan.json"), 0)
        session["inputs"]["a_new_key"] = ""
        (self.folder / "all.meshplan.json").write_text(json.dumps(session))
        self.assertNotEqual(self.gui(program, "all.meshplan.json"), 0)

    def gui(self, program: Path, session: str) -> int:
        command = [program, session, "--export-to", "mesh.svg", "--view", "mesh"]
        environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "HOME": str(self.folder)}
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, timeout=120).returncode

    @classmethod
    def tearDownClass(cls):
        print("held against real outputs: " + ", ".join(sorted(cls.seen)))


if __name__ == "__main__":
    unittest.main()
