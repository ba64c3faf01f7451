"""The Debian packages: what they hold, and that `apt install ./meshplan_*.deb` serves on a clean system.

The clean system is a folder made by mmdebstrap once and kept in build/packaging; without root, the right to mount or
mmdebstrap the tests in it are left out, and say so.
"""
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile
import unittest

from installed import (BUILD, CONSUMED, HERE, SOURCE, consumer_and_program, elf_files, files_that_name, run,
                       search_paths, subcommands, succeed)

GUI = os.environ["GUI"] == "ON"
EXECUTOR = os.environ["EXECUTOR"] == "ON"
PACKAGES = ["meshplan", "meshplan-dev", *["meshplan-executor"] * EXECUTOR, *["meshplan-gui"] * GUI]
RELEASE = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
BASE = SOURCE / f"build/packaging/{RELEASE}.tar"
# Its shells and man are what completion and manual pages are tried with; none is needed by meshplan.
TRIED_WITH = "zsh,fish,man-db"
INSTALL = "apt-get install -y ./meshplan_*.deb"

folder = tempfile.TemporaryDirectory(prefix="meshplan-packages-")
unittest.addModuleCleanup(folder.cleanup)
DEBS = pathlib.Path(folder.name) / "debs"


def setUpModule():
    succeed("cpack", "--config", BUILD / "CPackConfig.cmake", "-B", DEBS)


def deb_of(package: str) -> pathlib.Path:
    (found,) = DEBS.glob(f"{package}_*.deb")
    return found


def unpacked(package: str) -> pathlib.Path:
    target = pathlib.Path(folder.name) / "unpacked" / package
    if not target.exists():
        target.mkdir(parents=True)
        succeed("dpkg-deb", "--extract", deb_of(package), target)
    return target


def field(package: str, name: str) -> str:
    return succeed("dpkg-deb", "--field", deb_of(package), name).strip()


class Packages(unittest.TestCase):
    def test_each_component_is_a_package_with_its_copyright(self):
        self.assertEqual(sorted(path.name.split("_")[0] for path in DEBS.glob("*.deb")), sorted(PACKAGES))
        for package in PACKAGES:
            with self.subTest(package=package):
                self.assertIn("Apache-2.0", (unpacked(package) / f"usr/share/doc/{package}/copyright").read_text())
                self.assertNotIn("local", field(package, "Version"))

    def test_no_package_names_the_build_or_source_folder(self):
        for package in PACKAGES:
            with self.subTest(package=package):
                self.assertEqual(files_that_name(unpacked(package), [str(SOURCE), str(BUILD)]), {})

    def test_no_program_has_a_search_path_or_symbols(self):
        for package in PACKAGES:
            for program in elf_files(unpacked(package)):
                with self.subTest(program=program.name):
                    self.assertEqual(search_paths(program), [])
                    self.assertNotIn(".symtab", succeed("readelf", "--sections", "--wide", program))

    def test_no_two_packages_hold_the_same_file(self):
        owners = {}
        for package in PACKAGES:
            for path in unpacked(package).rglob("*"):
                if not path.is_dir():
                    owners.setdefault(path.relative_to(unpacked(package)), []).append(package)
        self.assertEqual({str(path): held for path, held in owners.items() if len(held) > 1}, {})

    def test_dependencies_are_declared(self):
        self.assertRegex(field("meshplan", "Depends"), r"libc6 \(>= ")
        self.assertNotIn("torch", field("meshplan", "Depends"))
        self.assertIn("nlohmann-json3-dev", field("meshplan-dev", "Depends"))
        if EXECUTOR:
            self.assertRegex(field("meshplan-executor", "Depends"), r"libgomp1 .*meshplan \(= |meshplan \(= .*libgomp1")
        if GUI:
            self.assertIn("libqt6widgets6", field("meshplan-gui", "Depends"))

    @unittest.skipUnless(GUI, "the build has no desktop program")
    def test_desktop_program_brings_its_licence_and_its_place_in_menus(self):
        held = unpacked("meshplan-gui") / "usr/share"
        self.assertIn("GNU GENERAL PUBLIC LICENSE", (held / "doc/meshplan-gui/LICENSE").read_text())
        for path in ("applications/meshplan-gui.desktop", "mime/packages/meshplan.xml",
                     "icons/hicolor/scalable/apps/meshplan.svg"):
            self.assertTrue((held / path).is_file(), path)

    def test_consumer_builds_against_the_package(self):
        root = unpacked("meshplan-dev")
        build = pathlib.Path(folder.name) / "consumer"
        succeed("cmake", "-S", HERE / "consumer", "-B", build, f"-DCMAKE_PREFIX_PATH={root}/usr")
        succeed("cmake", "--build", build)
        consumed, said = consumer_and_program(build / "consumer", unpacked("meshplan") / "usr/bin/meshplan", build)
        self.assertEqual(consumed, said)


def reason_to_leave_out() -> str:
    if os.geteuid() != 0:
        return "needs root"
    if not shutil.which("mmdebstrap"):
        return "needs Debian's mmdebstrap"
    if run("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt").returncode != 0:
        return "needs the right to mount"
    if BASE.exists():
        return ""
    BASE.parent.mkdir(parents=True, exist_ok=True)
    made = BASE.with_suffix(".part.tar")
    # With apt's lists, so that what packages depend on can be looked up.
    ended = run("mmdebstrap", "--variant=minbase", f"--include={TRIED_WITH}", "--dpkgopt=force-unsafe-io",
                "--skip=cleanup/apt/lists", RELEASE, made)
    if ended.returncode != 0:
        return f"no clean system could be made: {ended.stderr.strip().splitlines()[-1]}"
    made.rename(BASE)
    return ""


class CleanSystem(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if reason := reason_to_leave_out():
            raise unittest.SkipTest(f"no clean system to install on: {reason}")
        cls.root = pathlib.Path(folder.name) / "root"
        cls.root.mkdir()
        succeed("tar", "--extract", "--file", BASE, "--directory", cls.root, "--exclude=./dev/*")
        for deb in DEBS.glob("*.deb"):
            shutil.copy(deb, cls.root / "root")
        cls.inside(INSTALL)

    @classmethod
    def run_inside(cls, script: str) -> subprocess.CompletedProcess:
        """In the system's /root, with a /dev and /proc that end with it."""
        enter = 'mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" && exec chroot "$0" /bin/sh -c "cd /root && $1"'
        variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb",
                     "DEBIAN_FRONTEND": "noninteractive"}
        return run("unshare", "--mount", "--pid", "--fork", "sh", "-c", enter, cls.root, script, env=variables)

    @classmethod
    def inside(cls, script: str) -> str:
        ended = cls.run_inside(script)
        if ended.returncode != 0:
            raise AssertionError(f"{script}: exit code {ended.returncode}\n{ended.stdout}{ended.stderr}")
        return ended.stdout

    def test_program_plans_and_prices_as_the_build_does(self):
        built = BUILD / "bin/meshplan"
        self.assertEqual(self.inside("meshplan --version"), succeed(built, "--version"))
        self.assertEqual(self.inside("meshplan catalog"), succeed(built, "catalog"))
        arguments = " ".join(CONSUMED)
        self.assertEqual(self.inside(f"meshplan estimate {arguments} --json"), succeed(built, "estimate", *CONSUMED, "--json"))
        self.inside("meshplan plan --model llama-3-8b --cluster h100-sxm --seq-length 8192 -o plan.json")
        self.assertIn('"step_time_s"', self.inside("meshplan simulate plan.json --json"))

    def test_training_without_the_executor_names_the_package(self):
        ended = self.run_inside("meshplan train --model feed-forward-demo --dp-size 2 --steps 2")
        self.assertEqual(ended.returncode, 5)
        self.assertIn("meshplan-executor", ended.stderr)

    def test_manual_pages_are_found_and_have_no_faults(self):
        for word in subcommands(BUILD / "bin/meshplan"):
            with self.subTest(page=word):
                ended = self.run_inside(f"MANWIDTH=100 man --warnings=all meshplan-{word}")
                self.assertEqual((ended.returncode, ended.stderr), (0, ""))
                self.assertIn(f"meshplan {word}", ended.stdout)
        self.assertIn("meshplan-estimate", self.inside("MANWIDTH=100 man meshplan"))

    def fish_offers(self, line: str) -> set[str]:
        said = self.inside(f"fish --command 'complete --do-complete=\"{line}\"'")
        return {offered.split("\t")[0] for offered in said.splitlines()}

    def test_fish_completes(self):
        self.assertEqual(self.fish_offers("meshplan "), set(subcommands(BUILD / "bin/meshplan")))
        self.assertEqual(self.fish_offers("meshplan checkpoint "), {"list", "verify", "export"})
        self.assertEqual(self.fish_offers("meshplan estimate --activation-checkpointing "), {"none", "selective", "full"})
        self.assertIn("llama-3-8b", self.fish_offers("meshplan plan --model llama-3"))
        self.assertIn("--trace-ranks", self.fish_offers("meshplan compare --tr"))

    def zsh_offers(self, line: str) -> str:
        """What an interactive zsh shows after the line and two tabs."""
        (self.root / "root/complete.zsh").write_text(f"""
zmodload zsh/zpty
zpty shell 'zsh -f -i'
zpty -w shell 'PS1=; LISTMAX=100000; autoload -U compinit; compinit -u; stty cols 400 rows 200; echo READ""Y'
zpty -r shell shown '*READY*'
zpty -w -n shell $'{line}\\t\\t'
sleep 2
while zpty -r -t shell shown; do print -r -- $shown; done
zpty -d shell
""")
        return self.inside("zsh -f complete.zsh")

    def test_zsh_completes(self):
        offered = self.zsh_offers("meshplan ")
        for word in subcommands(BUILD / "bin/meshplan"):
            self.assertIn(word, offered)
        self.assertIn("selective", self.zsh_offers("meshplan estimate --activation-checkpointing "))
        self.assertIn("networks", self.zsh_offers("meshplan catalog net"))
        self.assertIn("llama-3-8b", self.zsh_offers("meshplan plan --model llama-3-"))
        self.assertIn("verify", self.zsh_offers("meshplan checkpoint "))
        self.assertIn("--trace-ranks", self.zsh_offers("meshplan compare --trace-"))

    def test_what_the_other_packages_depend_on_exists(self):
        for package in PACKAGES[1:]:
            with self.subTest(package=package):
                self.assertIn(f"Inst {package} ", self.inside(f"apt-get install --simulate ./{package}_*.deb"))

    def test_removing_it_leaves_nothing(self):
        self.addCleanup(self.inside, INSTALL)
        self.inside("apt-get purge -y meshplan")
        left = [str(path) for path in (self.root / "usr").rglob("*meshplan*")]
        self.assertEqual(left, [])
        self.assertEqual(self.run_inside("meshplan --version").returncode, 127)


if __name__ == "__main__":
    unittest.main()
