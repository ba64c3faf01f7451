"""`cmake --install` into a folder that is then moved: programs, libraries, pages and completion work from there."""
import gzip
import json
import os
import pathlib
import sys
import tempfile
import unittest

from installed import (BUILD, HERE, SOURCE, bash_completes, consumer_and_program, elf_files, files_that_name, run,
                       search_paths, subcommands, succeed)

EXECUTOR = os.environ["EXECUTOR"] == "ON"
MANIFEST = BUILD / "install_manifest.txt"


def setUpModule():
    """What the user has installed from this build stays on record."""
    if MANIFEST.exists():
        unittest.addModuleCleanup(MANIFEST.write_bytes, MANIFEST.read_bytes())


class Installation(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="meshplan-install-")
        folder = pathlib.Path(cls.folder.name)
        succeed("cmake", "--install", BUILD, "--prefix", folder / "first")
        cls.prefix = (folder / "first").rename(folder / "moved")
        cls.meshplan = cls.prefix / "bin/meshplan"
        cls.data = cls.prefix / "share/meshplan"

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_program_runs_and_knows_its_catalog(self):
        self.assertRegex(succeed(self.meshplan, "--version", cwd="/"), r"^meshplan \d+\.\d+\.\d+\n$")
        self.assertEqual(succeed(self.meshplan, "catalog", "--json", cwd="/"),
                         succeed(BUILD / "bin/meshplan", "catalog", "--json", cwd="/"))
        runs = self.data / "catalog/measurements/training_runs.csv"
        self.assertGreater(len(json.loads(succeed(self.meshplan, "validate", runs, "--json", cwd="/"))), 1)

    def test_no_program_has_a_search_path(self):
        programs = list(elf_files(self.prefix))
        self.assertIn(self.meshplan, programs)
        self.assertEqual({str(program): search_paths(program) for program in programs if search_paths(program)}, {})

    def test_no_file_names_the_build_or_source_folder(self):
        named = files_that_name(self.prefix, [str(SOURCE), str(BUILD)])
        # The one that is there to name the Python that it was built with.
        named.pop("share/meshplan/torch_python", None)
        self.assertEqual(named, {})

    def test_every_subcommand_has_a_manual_page(self):
        pages = self.prefix / "share/man/man1"
        for name in ["meshplan", *(f"meshplan-{word}" for word in subcommands(self.meshplan))]:
            with self.subTest(page=name), gzip.open(pages / f"{name}.1.gz", "rt") as page:
                text = page.read()
                self.assertTrue(text.startswith(f'.TH "{name.upper()}'.replace("-", "\\-")), text[:60])
                for section in ("NAME", "SYNOPSIS", "OPTIONS", "SEE ALSO"):
                    self.assertIn(f".SH {section}\n", text)
        with gzip.open(pages / "meshplan-estimate.1.gz", "rt") as page:
            self.assertIn("\\fB\\-\\-sharding\\fR", page.read())

    def test_bash_completes_commands_flags_choices_names_and_files(self):
        script = self.prefix / "share/bash-completion/completions/meshplan"
        words = subcommands(self.meshplan)
        self.assertEqual(set(bash_completes(script, "")), set(words))
        self.assertEqual(set(bash_completes(script, "checkpoint", "")), {"list", "verify", "export"})
        self.assertEqual(bash_completes(script, "estimate", "--activation-checkpointing", ""), ["none", "selective", "full"])
        self.assertEqual(bash_completes(script, "calibrate", "--mod"), ["--model"])
        self.assertEqual(bash_completes(script, "plan", "--objective", "=", "th"), ["throughput"])
        self.assertEqual(bash_completes(script, "catalog", "net"), ["networks"])
        self.assertIn("llama-3-8b", bash_completes(script, "plan", "--model", "llama-3-"))
        self.assertIn("h100-sxm", bash_completes(script, "plan", "--cluster", "h"))
        self.assertEqual(bash_completes(script, "simulate", f"{self.prefix}/b"), [f"{self.prefix}/bin"])
        self.assertEqual(bash_completes(script, "plan", "--nodes", ""), [])

    def test_bash_offers_every_flag_of_the_help(self):
        script = self.prefix / "share/bash-completion/completions/meshplan"
        for word in subcommands(self.meshplan):
            said = succeed(self.meshplan, word, "--help").split("Options:\n")[1]
            flags = {flag for line in said.splitlines() if line.startswith("  -")
                     for flag in line.split()[0].split(",") if flag.startswith("--")}
            with self.subTest(command=word):
                self.assertGreaterEqual(set(bash_completes(script, word, "--")), flags)

    def test_pkg_config_names_what_a_compiler_needs(self):
        folder = pathlib.Path(self.folder.name)
        found = {**os.environ, "PKG_CONFIG_PATH": str(self.prefix / "lib/pkgconfig")}
        flags = succeed("pkg-config", "--cflags", "--libs", "meshplan", env=found).split()
        succeed("c++", HERE / "consumer/main.cpp", "-o", folder / "by-pkg-config", *flags)
        consumed, said = consumer_and_program(folder / "by-pkg-config", self.meshplan, folder)
        self.assertEqual(consumed, said)

    def test_another_minor_version_is_refused(self):
        folder = pathlib.Path(self.folder.name) / "too-new"
        folder.mkdir()
        text = (HERE / "consumer/CMakeLists.txt").read_text()
        (folder / "CMakeLists.txt").write_text(text.replace("meshplan 0.1", "meshplan 0.99"))
        ended = run("cmake", "-S", folder, "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={self.prefix}")
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn('requested version "0.99"', ended.stderr)

    def test_uninstall_leaves_nothing(self):
        target = pathlib.Path(self.folder.name) / "gone"
        succeed("cmake", "--install", BUILD, "--prefix", target)
        succeed("cmake", f"-DMANIFEST={MANIFEST}", "-P", SOURCE / "cmake/uninstall.cmake")
        self.assertEqual([str(path) for path in target.rglob("*") if not path.is_dir()], [])
        self.assertEqual([str(path) for path in target.rglob("meshplan")], [])


@unittest.skipUnless(EXECUTOR, "the build has no executor")
class InstalledExecutor(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="meshplan-install-")
        cls.prefix = pathlib.Path(cls.folder.name) / "prefix"
        for component in ("meshplan", "executor"):
            succeed("cmake", "--install", BUILD, "--prefix", cls.prefix, "--component", component)
        (cls.prefix / "share/meshplan/torch_python").unlink(missing_ok=True)
        cls.clean = {key: value for key, value in os.environ.items()
                     if key not in ("LD_LIBRARY_PATH", "MESHPLAN_TORCH_PYTHON", "MESHPLAN_PREPARE_DATA")}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def rank(self, *arguments, **variables):
        return run(self.prefix / "bin/meshplan-train", *arguments, env={**self.clean, **variables})

    def test_rank_starts_with_the_named_pytorch(self):
        ended = self.rank("--help", MESHPLAN_TORCH_PYTHON=sys.executable)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertIn("One rank of meshplan's executor", ended.stdout)

    def test_rank_finds_the_python_of_an_activated_environment(self):
        path = f"{pathlib.Path(sys.executable).parent}:{self.clean['PATH']}"
        self.assertEqual(self.rank("--help", PATH=path).returncode, 0)

    def test_python_without_pytorch_is_refused_in_words(self):
        bare = pathlib.Path(self.folder.name) / "python"
        bare.write_text(f"#!/bin/sh\nexec {sys.executable} -S \"$@\"\n")
        bare.chmod(0o755)
        ended = self.rank("--help", MESHPLAN_TORCH_PYTHON=str(bare))
        self.assertEqual(ended.returncode, 5)
        self.assertIn(f"{bare} has no PyTorch", ended.stderr)
        self.assertIn("MESHPLAN_TORCH_PYTHON=", ended.stderr)

    def test_another_pytorch_is_refused_in_words(self):
        torch = pathlib.Path(self.folder.name) / "torch"
        (torch / "lib").mkdir(parents=True)
        (torch / "lib/libtorch_cpu.so").touch()
        (torch / "version.py").write_text("__version__ = '2.4.1+cpu'\n")
        ended = self.rank("--help", LD_LIBRARY_PATH=str(torch / "lib"))
        self.assertEqual(ended.returncode, 5)
        self.assertIn("is 2.4.1, but", ended.stderr)

    def test_two_ranks_train(self):
        storage = pathlib.Path(self.folder.name) / "runs"
        ended = run(self.prefix / "bin/meshplan", "train", "--model", "feed-forward-demo", "--dp-size", "2", "--steps", "2",
                    "--storage-path", storage, "--experiment-name", "first",
                    env={**self.clean, "MESHPLAN_TORCH_PYTHON": sys.executable}, cwd="/")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        lines = (storage / "first/metrics.jsonl").read_text().splitlines()
        self.assertGreaterEqual(len(lines), 2)


if __name__ == "__main__":
    unittest.main()
