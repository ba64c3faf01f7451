"""What scripts/bootstrap does to a machine, seen through stand-ins for the programs that would change it."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = "bash cat comm cp dirname env flock grep mkdir rm sed sha256sum sort tail touch xargs".split()

# Every stand-in notes how it was called. Python: a virtual environment "has torch" once pip has run in it.
STAND_INS = {
    "id": 'echo "${FAKE_USER:-0}"',
    "apt-get": 'echo "apt-get $*" >>"$CALLS"; exit "${FAKE_APT:-0}"',
    "sudo": 'echo "sudo $*" >>"$CALLS"; exec "$@"',
    "dpkg-query": 'for name in "$@"; do [[ " $FAKE_MISSING " == *" $name "* ]] || echo "$name installed"; done',
    "python3": '''
echo "python3 $*" >>"$CALLS"
here=$(dirname "$0")
case "$*" in
  *version_info*) exit "${FAKE_OLD:-0}" ;;
  --version) echo "Python 3.9.2" ;;
  *find_spec*) [[ -e $here/torch ]] ;;
  "-m venv "*)
    if [[ $* == *--clear* ]]; then rm -rf "${@: -1}"; fi
    mkdir -p "${@: -1}/bin" && cp "$0" "${@: -1}/bin/python3" ;;
  "-m pip "*) touch "$here/torch"; exit "${FAKE_PIP:-0}" ;;
  "- "*) printf '%s\\n' "$FAKE_TORCH" "${FAKE_LACKING:-}" ;;
esac''',
}


class Bootstrap(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "project/scripts").mkdir(parents=True)
        for name in ("bootstrap", "common.sh", "requirements.txt", "requirements-docs.txt", "requirements-ray.txt", "requirements-exports.txt"):
            shutil.copy(ROOT / "scripts" / name, self.folder / "project/scripts")
        self.tools = self.folder / "tools"
        self.tools.mkdir()
        for name in TOOLS:
            (self.tools / name).symlink_to(shutil.which(name))
        for name, body in STAND_INS.items():
            (self.tools / name).write_text(f"#!{self.tools}/bash\n{body}\n")
            (self.tools / name).chmod(0o755)
        self.stamp = self.folder / "project/build/venv/.complete"
        self.docs_stamp = self.make_complete("docs")
        self.make_complete("exports", f" {self.stamp.parent}/bin/python3")

    def make_complete(self, name: str, behind: str = "") -> pathlib.Path:
        """An environment of tests alone that is there already; its stamp. That of exports has the Python that it builds on."""
        stamp = self.folder / f"project/build/venv-{name}/.complete"
        stamp.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256((ROOT / f"scripts/requirements-{name}.txt").read_bytes()).hexdigest()
        stamp.write_text(f"{digest}  - {stamp.parent}{behind}\n")
        return stamp

    def bootstrap(self, *arguments, **settings) -> tuple[int, str, list[str]]:
        """Exit code, messages, and the calls that change a machine."""
        calls = self.folder / "calls"
        calls.write_text("")
        environment = {"PATH": str(self.tools), "CALLS": str(calls), "FAKE_MISSING": "", "LC_ALL": "C", **settings}
        result = subprocess.run([str(self.tools / "bash"), str(self.folder / "project/scripts/bootstrap"), *arguments],
                                capture_output=True, text=True, env=environment, timeout=60)
        self.assertEqual(result.stdout, "")
        changing = [c for c in calls.read_text().splitlines() if c.startswith(("apt-get", "sudo", "python3 -m"))]
        return result.returncode, result.stderr, changing

    def test_second_run_changes_nothing_and_is_quick(self):
        code, _, calls = self.bootstrap()
        self.assertEqual((code, [c.split()[2] for c in calls]), (0, ["venv", "pip"]))
        begin = time.monotonic()
        self.assertEqual(self.bootstrap(), (0, "bootstrap: all is there\n", []))
        self.assertLess(time.monotonic() - begin, 2)

    def test_root_installs_exactly_what_is_missing(self):
        code, _, calls = self.bootstrap("--without-executor", FAKE_MISSING="g++ libfmt-dev libgloo-dev")
        install = "apt-get install -y --no-install-recommends g++ libfmt-dev"
        self.assertEqual((code, calls), (0, ["apt-get -q update", install]))

    def test_engines_are_installed_where_they_are_asked_for(self):
        missing = {"FAKE_MISSING": "slurmd munge"}
        self.assertEqual(self.bootstrap("--without-executor", **missing)[2], [])
        code, _, calls = self.bootstrap("--without-executor", "--engines", **missing)
        self.assertEqual((code, calls[1]), (0, "apt-get install -y --no-install-recommends munge slurmd"))
        self.assertEqual([c.split()[2] for c in calls[2:]], ["venv", "pip"])
        self.assertIn("requirements-ray.txt", calls[-1])
        self.assertEqual(self.bootstrap("--without-executor", "--engines")[2], [])

    def test_tests_do_without_engines_that_cannot_be_installed(self):
        code, message, _ = self.bootstrap("--without-executor", "--engines", FAKE_PIP="1")
        self.assertEqual(code, 0)
        self.assertIn("will be left out", message)

    def test_user_installs_through_sudo(self):
        code, _, calls = self.bootstrap("--without-executor", FAKE_MISSING="ninja-build", FAKE_USER="1000")
        self.assertEqual(code, 0)
        self.assertIn("sudo apt-get -q update", calls)
        self.assertIn("apt-get install -y --no-install-recommends ninja-build", calls)

    def test_user_without_sudo_gets_the_line_to_run(self):
        (self.tools / "sudo").unlink()
        code, message, calls = self.bootstrap(FAKE_MISSING="cmake libgloo-dev", FAKE_USER="1000")
        self.assertEqual((code, calls), (5, []))
        self.assertIn("apt-get update && apt-get install -y --no-install-recommends cmake libgloo-dev\n", message)

    def test_failure_of_apt_names_the_line_to_run(self):
        code, message, _ = self.bootstrap(FAKE_MISSING="cmake", FAKE_APT="100")
        self.assertEqual(code, 5)
        self.assertIn("by hand: apt-get update && apt-get install", message)

    def test_other_systems_are_told_what_is_taken_for_granted(self):
        (self.tools / "dpkg-query").unlink()
        code, message, _ = self.bootstrap("--without-executor")
        self.assertEqual(code, 0)
        self.assertIn("not Debian or Ubuntu", message)

    def test_interrupted_environment_is_made_anew(self):
        code, message, _ = self.bootstrap(FAKE_PIP="1")
        self.assertEqual((code, self.stamp.exists()), (5, False))
        self.assertIn("pip failed", message)
        code, _, calls = self.bootstrap()
        self.assertEqual((code, self.stamp.exists()), (0, True))
        self.assertIn("--clear", calls[0])

    def test_lost_torch_is_repaired(self):
        self.bootstrap()
        (self.folder / "project/build/venv/bin/torch").unlink()
        code, _, calls = self.bootstrap()
        self.assertEqual((code, len(calls)), (0, 2))
        self.assertIn("--clear", calls[0])

    def test_changed_requirements_are_installed_in_place(self):
        self.bootstrap()
        with open(self.folder / "project/scripts/requirements.txt", "a") as file:
            file.write("another==1.0\n")
        code, _, calls = self.bootstrap()
        self.assertEqual((code, len(calls)), (0, 2))
        self.assertNotIn("--clear", calls[0])
        self.assertEqual(self.bootstrap()[2], [])

    def test_what_builds_the_pages_has_an_environment_of_its_own(self):
        self.bootstrap()
        self.docs_stamp.unlink()
        code, message, calls = self.bootstrap()
        self.assertEqual((code, len(calls)), (0, 2))
        self.assertIn("venv-docs", calls[0])
        self.assertIn("-r scripts/requirements-docs.txt", calls[1])
        self.assertEqual(self.bootstrap(), (0, "bootstrap: all is there\n", []))

    def test_pages_that_cannot_be_built_are_said_and_stop_nothing(self):
        self.bootstrap()
        self.docs_stamp.unlink()
        code, message, _ = self.bootstrap(FAKE_PIP="1")
        self.assertEqual((code, self.docs_stamp.exists()), (0, False))
        self.assertIn("docs/ is not built", message)

    def test_a_link_to_the_scripts_leads_to_their_project(self):
        self.bootstrap()
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "scripts").symlink_to(self.folder / "project/scripts")
        (elsewhere / "build").symlink_to(self.folder / "project/build")
        calls = self.folder / "calls"
        calls.write_text("")
        environment = {"PATH": str(self.tools), "CALLS": str(calls), "FAKE_MISSING": "", "LC_ALL": "C"}
        subprocess.run([str(self.tools / "bash"), "scripts/bootstrap"], cwd=elsewhere, env=environment, check=True, capture_output=True, timeout=60)
        self.assertNotIn("python3 -m", calls.read_text())

    def test_old_python_is_refused(self):
        code, message, _ = self.bootstrap(FAKE_OLD="1")
        self.assertEqual(code, 5)
        self.assertIn("Python 3.11 or newer", message)

    def test_named_python_is_used_as_it_is(self):
        named = {"MESHPLAN_TORCH_PYTHON": str(self.tools / "python3")}
        self.make_complete("exports", f" {self.tools / 'python3'}")
        self.assertEqual(self.bootstrap(FAKE_TORCH="2.11.0+cu130", **named), (0, "bootstrap: all is there\n", []))
        code, message, _ = self.bootstrap(FAKE_TORCH="2.9.1", **named)
        self.assertEqual(code, 3)
        self.assertIn("has torch 2.9.1, but meshplan links torch 2.11", message)
        self.assertIn("pip install torch==2.11.0", message)
        code, message, _ = self.bootstrap(FAKE_TORCH="2.11.0", FAKE_LACKING="transformers datasets", **named)
        self.assertEqual(code, 3)
        self.assertIn("pip install transformers datasets", message)
        code, message, _ = self.bootstrap(MESHPLAN_TORCH_PYTHON="/no/such/python")
        self.assertEqual(code, 3)
        self.assertIn("does not run", message)


class EveryScript(unittest.TestCase):
    def test_explains_itself_and_refuses_what_it_does_not_know(self):
        for name in ("bootstrap", "build", "test", "format", "quickstart", "prepare_data", "docs"):
            with self.subTest(script=name):
                script = str(ROOT / "scripts" / name)
                help_text = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=60)
                self.assertEqual(help_text.returncode, 0, help_text.stderr)
                self.assertIn(f"scripts/{name}", help_text.stdout)
                self.assertEqual(subprocess.run([script, "--no-such"], capture_output=True, timeout=60).returncode, 2)


if __name__ == "__main__":
    unittest.main()
