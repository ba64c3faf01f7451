"""What stands in the files of a job is what was asked for, whatever it holds: bash, YAML and Python read the same words back."""
import ast
import json
import os
import pathlib
import random
import subprocess
import tempfile
import unittest

import yaml

MESHPLAN = os.environ["MESHPLAN"]
HOSTILE = [
    "plain", "two words", "it's", 'say "x"', "$(touch CANARY)", "`touch CANARY`", "; touch CANARY", "&& touch CANARY", "| touch CANARY",
    "\\", "\\'", "'\\''", '"; touch CANARY; "', "' ; touch CANARY ; '", "#", "a # b", ": b", "- a", "{a: b}", "[a]", "*", "?", "~", "!x", "%j", "&a",
    "!!python/object/apply:os.system ['touch CANARY']", "yes", "null", "0x10", "1e3", "$HOME", "${HOME}", "$(HOME)", "$$(HOME)", "$", "$$", "NODE",
    ")", "'''", '"""', "\\n", "\\u0041", "{0}", "%s", "Zürich", "日本", "😀", "-", "--flag", "<<NODE", "\u00a0", "x" * 300,
]
PIECES = list("abc \\'\"`$(){}[]<>|&;#!*?~%:=-,.@é😀") + ["$(", "'\\''", "touch CANARY"]
# Of shell scripts, what stands for the programs that they start: each writes down the words that it was given.
STUB = """#!/usr/bin/env python3
import json, os, sys
print("WORDS", json.dumps([sys.argv, dict(os.environ)]))
"""


def words_of_chance(count: int) -> list[str]:
    chance = random.Random(5)
    return ["".join(chance.choice(PIECES) for _ in range(chance.randrange(1, 30))) for _ in range(count)]


class WithAPlan(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.work.name)
        cls.plan = cls.root / "plan.json"
        cls.meshplan("plan", "--model", "demo-qwen2", "--cluster", "local-cpu", "--nodes", "2", "--gpus-per-node", "2", "--seq-length",
                     "128", "-o", str(cls.plan))
        stubs = cls.root / "bin"
        stubs.mkdir()
        for name in ("srun", "torchrun", "scontrol"):
            (stubs / name).write_text(STUB)
            (stubs / name).chmod(0o755)
        # As ssh does: one line for the shell of the other side.
        (stubs / "ssh").write_text('#!/bin/bash\nwhile [[ $1 == -o ]]; do shift 2; done\nshift\nexec bash -c "$*"\n')
        (stubs / "ssh").chmod(0o755)
        cls.environment = os.environ | {"PATH": f"{stubs}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]"}

    @classmethod
    def tearDownClass(cls):
        cls.work.cleanup()

    @classmethod
    def meshplan(cls, *words) -> str:
        ended = subprocess.run([MESHPLAN, *words], capture_output=True, text=True, cwd=cls.root)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


class Jobs(WithAPlan):
    def job(self, target: str, text: str, *more) -> list[dict]:
        """The files of a job that has the text wherever a text can be."""
        flags = ["--job-name=" + text, "--env=TEXT=" + text, "--dataset-name=" + text, "--tokenizer=" + text, "--program=" + "/bin/" + text,
                 "--init", "random", "--storage-path", "/runs/" + text, "--experiment-name", "name"]
        return json.loads(self.meshplan("submit", str(self.plan), "--to", target, "--dry-run", "--json", *flags, *more))["files"]

    def run_script(self, content: str) -> list:
        script = self.root / "script"
        script.write_text(content)
        syntax = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
        self.assertEqual((syntax.returncode, syntax.stderr), (0, ""), content)
        ended = subprocess.run(["bash", script], capture_output=True, text=True, cwd=self.root, env=self.environment, timeout=60)
        self.assertEqual(ended.returncode, 0, ended.stderr + content)
        return [json.loads(line.split("WORDS ", 1)[1]) for line in ended.stdout.splitlines() if "WORDS " in line]

    def expect_words(self, words: list[str], text: str, plan: str):
        self.assertEqual(words[0], "/bin/" + text)
        self.assertEqual(words[1:3], ["train", plan])
        for flag, value in {"--dataset-name": text, "--tokenizer": text, "--storage-path": "/runs/" + text}.items():
            if value.startswith("-"):
                self.assertIn(f"{flag}={value}", words)
            else:
                self.assertEqual(words[words.index(flag) + 1], value)
        self.assertFalse((self.root / "CANARY").exists(), text)

    def texts(self, of_chance: int) -> list[str]:
        return HOSTILE + words_of_chance(of_chance)

    def test_slurm_scripts_keep_values_values(self):
        for text in self.texts(20):
            with self.subTest(text=text):
                [file] = self.job("slurm", text, f"--partition={text}")
                [(words, environment)] = self.run_script(file["content"])
                self.expect_words(words[words.index("--kill-on-bad-exit=0") + 1:], text, str(self.plan))
                self.assertEqual(environment["TEXT"], text)

    def test_torchrun_in_slurm_scripts_gets_the_same_words(self):
        for text in self.texts(5)[::4]:
            with self.subTest(text=text):
                [file] = self.job("slurm", text, "--launcher", "torchrun")
                [(words, environment)] = self.run_script(file["content"])
                self.expect_words(words[words.index("--no-python") + 1:], text, str(self.plan))
                self.assertIn("--nproc-per-node=2", words)
                self.assertIn("USR1", environment["PET_SIGNALS_TO_HANDLE"])

    def test_ssh_scripts_keep_values_values(self):
        for text in self.texts(5)[::2]:
            with self.subTest(text=text):
                [file] = self.job("ssh", text, "--hosts", "a,b", "--time-limit", "1h")
                nodes = self.run_script(file["content"])
                self.assertEqual(len(nodes), 2)
                for words, environment in nodes:
                    self.expect_words(words[words.index("--no-python") + 1:], text, str(self.plan))
                    self.assertEqual(environment["TEXT"], text)
                self.assertEqual({w for words, _ in nodes for w in words if w.startswith("--local-addr")}, {"--local-addr=a", "--local-addr=b"})

    def expect_pod_words(self, container: dict, text: str):
        """As Kubernetes makes them: $$ is $, and $(NAME) a variable."""
        words = container["args"][container["args"].index("--no-python") + 1:]
        self.assertNotIn("$(", "".join(words).replace("$$", ""))
        self.expect_words([word.replace("$$", "$") for word in words], text, "/etc/meshplan/plan.json")
        [value] = [variable["value"] for variable in container["env"] if variable["name"] == "TEXT"]
        self.assertEqual(value.replace("$$", "$"), text)

    def test_kubernetes_files_keep_values_values(self):
        plan = json.loads(self.plan.read_text())
        for text in self.texts(20):
            with self.subTest(text=text):
                [file] = self.job("kubernetes", text, f"--image={text}")
                config, job = yaml.safe_load_all(file["content"])
                self.assertEqual(json.loads(config["data"]["plan.json"]), plan)
                self.assertEqual(config["metadata"]["annotations"]["meshplan/job"], text)
                self.assertEqual(job["spec"]["trainer"]["image"], text)
                self.expect_pod_words(job["spec"]["trainer"], text)
                [file] = self.job("kubernetes", text, f"--image={text}", "--pytorchjob")
                _, job = yaml.safe_load_all(file["content"])
                for replica in job["spec"]["pytorchReplicaSpecs"].values():
                    self.expect_pod_words(replica["template"]["spec"]["containers"][0], text)

    def test_ray_drivers_keep_values_values(self):
        for text in self.texts(20):
            with self.subTest(text=text):
                job, driver, plan = self.job("ray", text, f"--compute-config={text}")
                self.assertEqual(yaml.safe_load(job["content"])["name"], text)
                self.assertEqual(yaml.safe_load(job["content"])["compute_config"], text)
                values = {}
                for node in ast.parse(driver["content"]).body:
                    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                        values[node.targets[0].id] = ast.literal_eval(node.value)
                self.expect_words(values["COMMAND"], text, "plan.json")
                self.assertEqual(values["ENVIRONMENT"]["TEXT"], text)
                self.assertEqual(json.loads(plan["content"]), json.loads(self.plan.read_text()))

    def test_values_that_are_no_line_are_refused(self):
        for text in ("two\nlines", "\r", "\x1b[2J", "\x7f", "\u0085", "\u2028", b"\xff"):
            with self.subTest(text=text):
                words = [MESHPLAN, "submit", str(self.plan), "--to", "slurm", "--dry-run", "--data", "synthetic", "--init", "random", "--env"]
                ended = subprocess.run([*words, b"A=" + (text if isinstance(text, bytes) else text.encode())], capture_output=True)
                self.assertEqual(ended.returncode, 3, ended.stderr)
                self.assertIn(b"the value of A: must be one line", ended.stderr)
                self.assertNotIn(b"\x1b", ended.stderr)


# The fields that the operators' types have, from where planner/plan/jobs/kubernetes.cpp says; of pods, those of core/v1.
TRAIN_JOB_SPEC = {"runtimeRef", "initializer", "trainer", "runtimePatches", "suspend", "activeDeadlineSeconds", "managedBy"}
TRAINER = {"image", "command", "args", "env", "numNodes", "resourcesPerNode", "numProcPerNode"}
CONTAINER_PATCH = {"name", "env", "volumeMounts", "securityContext"}
POD_PATCH = {"serviceAccountName", "volumes", "initContainers", "containers", "imagePullSecrets", "securityContext", "nodeSelector",
             "affinity", "tolerations", "schedulingGates"}
PYTORCH_JOB_SPEC = {"runPolicy", "elasticPolicy", "pytorchReplicaSpecs", "nprocPerNode"}
RUN_POLICY = {"cleanPodPolicy", "ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit", "schedulingPolicy", "suspend", "managedBy"}
LABEL = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"


class KubernetesFields(WithAPlan):
    def job(self, *more) -> tuple[dict, dict]:
        out = self.meshplan("submit", str(self.plan), "--to", "kubernetes", "--dry-run", "--data", "synthetic", "--init", "random",
                            "--storage-path", "/storage/runs", "--image", "meshplan", "--claim", "shared", "--time-limit", "2h",
                            "--cpus-per-rank", "3", "--job-name", "A Run", *more)
        return tuple(yaml.safe_load_all(out))

    def expect_volumes(self, volumes: list[dict], mounts: list[dict]):
        self.assertEqual([v["name"] for v in volumes], [m["name"] for m in mounts])
        self.assertEqual(volumes[0]["configMap"]["name"], "a-run")
        self.assertEqual((volumes[1]["emptyDir"], mounts[1]["mountPath"]), ({"medium": "Memory"}, "/dev/shm"))
        self.assertEqual((volumes[2]["persistentVolumeClaim"]["claimName"], mounts[2]["mountPath"]), ("shared", "/storage"))

    def test_a_train_job_has_fields_of_its_type_alone(self):
        config, job = self.job()
        self.assertEqual((config["apiVersion"], config["kind"]), ("v1", "ConfigMap"))
        self.assertLess(len(config["data"]["plan.json"]), 1 << 20)
        self.assertEqual((job["apiVersion"], job["kind"]), ("trainer.kubeflow.org/v1alpha1", "TrainJob"))
        self.assertRegex(job["metadata"]["name"], LABEL)
        spec, trainer = job["spec"], job["spec"]["trainer"]
        self.assertLessEqual(set(spec), TRAIN_JOB_SPEC)
        self.assertLessEqual(set(trainer), TRAINER)
        self.assertEqual((trainer["numNodes"], trainer["numProcPerNode"], spec["activeDeadlineSeconds"]), (2, 2, 7200))
        self.assertEqual(trainer["resourcesPerNode"]["limits"], {"cpu": 6})
        self.assertLessEqual(len(trainer["args"]), 128)
        [patch] = spec["runtimePatches"]
        self.assertEqual(set(patch), {"manager", "trainingRuntimeSpec"})
        [replicated] = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
        self.assertEqual(replicated["name"], "node")
        pod = replicated["template"]["spec"]["template"]["spec"]
        self.assertLessEqual(set(pod), POD_PATCH)
        [container] = pod["containers"]
        # Variables of this container may be set by the trainer alone.
        self.assertLessEqual(set(container), CONTAINER_PATCH - {"env"})
        self.expect_volumes(pod["volumes"], container["volumeMounts"])
        # Kubeflow refuses these; it sets them itself.
        reserved = {"PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT"}
        self.assertFalse(reserved & {variable["name"] for variable in trainer["env"]})

    def test_a_pytorch_job_has_fields_of_its_type_alone(self):
        _, job = self.job("--pytorchjob")
        self.assertEqual((job["apiVersion"], job["kind"]), ("kubeflow.org/v1", "PyTorchJob"))
        spec = job["spec"]
        self.assertLessEqual(set(spec), PYTORCH_JOB_SPEC)
        self.assertLessEqual(set(spec["runPolicy"]), RUN_POLICY)
        self.assertEqual((spec["nprocPerNode"], spec["runPolicy"]["activeDeadlineSeconds"]), ("2", 7200))
        self.assertEqual({name: replica["replicas"] for name, replica in spec["pytorchReplicaSpecs"].items()}, {"Master": 1, "Worker": 1})
        for replica in spec["pytorchReplicaSpecs"].values():
            self.assertEqual(set(replica), {"replicas", "restartPolicy", "template"})
            [container] = replica["template"]["spec"]["containers"]
            self.assertEqual(container["name"], "pytorch")
            self.assertEqual(container["ports"], [{"name": "pytorchjob-port", "containerPort": 29500}])
            self.assertIn("--node-rank=$(RANK)", container["args"])
            self.assertEqual(container["resources"]["requests"], {"cpu": 6})
            self.expect_volumes(replica["template"]["spec"]["volumes"], container["volumeMounts"])


if __name__ == "__main__":
    unittest.main()
