"""How pages are read and compared."""
import re
import tempfile
import unittest
from pathlib import Path

import run_pages
from compare import first_difference
from pages import ROOT, PageError, blocks_of

PAGE = Path("page.md")


class Pages(unittest.TestCase):
    def test_a_console_block_has_commands_and_what_is_shown_under_each(self):
        [block] = blocks_of(PAGE, "```console\n$ one \\\n    --two\nthree\n\n$ four\n```\n")
        self.assertEqual([command.text for command in block.commands], ["one \\\n    --two", "four"])
        self.assertEqual([command.shown for command in block.commands], [["three"], []])
        self.assertEqual([command.line for command in block.commands], [2, 6])

    def test_a_command_goes_on_after_a_backslash_or_the_shells_second_prompt(self):
        [block] = blocks_of(PAGE, "```console\n$ for x in 1; do\n> echo $x; done\n1\n```\n")
        self.assertEqual(block.commands[0].text, "for x in 1; do\necho $x; done")
        self.assertEqual(block.commands[0].shown, ["1"])

    def test_a_need_is_of_the_next_block_alone(self):
        blocks = blocks_of(PAGE, "*Needs GPUs: eight of them.*\n\n```sh\none\n```\n\n```sh\ntwo\n```\n")
        self.assertEqual([block.needs for block in blocks], ["GPUs", None])

    def test_a_need_with_text_between_it_and_a_block_is_not_that_blocks(self):
        [block] = blocks_of(PAGE, "*Needs GPUs.*\n\ntext\n\n```sh\none\n```\n")
        self.assertIsNone(block.needs)

    def test_what_comes_first_is_run_and_not_shown(self):
        [first, second] = blocks_of(PAGE, "<!-- first: make\nall -->\n```sh\none\n```\n")
        self.assertEqual(first.commands[0].text, "make\nall")
        self.assertEqual(second.commands[0].text, "one")

    def test_refuses_commands_that_no_test_would_run(self):
        for text in ("```\n$ meshplan plan\n```\n", "```text\nmeshplan plan x\n```\n", "\n    meshplan plan x\n", "```console\nmeshplan plan\n```\n",
                     "*Needs a spaceship.*\n", "```sh\nno end\n"):
            with self.subTest(text=text), self.assertRaises(PageError):
                blocks_of(PAGE, text)


    def test_pages_from_before_the_conventions_are_read_and_not_run(self):
        [block] = blocks_of(Path("docs/launching.md"), "\n    meshplan train plan.json \\\n        --data text\n")
        self.assertEqual((block.needs, block.commands[0].text), ("no marks", "meshplan train plan.json \\\n--data text"))

    def test_refuses_to_change_the_clone_that_it_runs_in(self):
        for text in ("```sh\nscripts/quickstart   # all\n```\n", "```console\n$ cmake --build build\n```\n", "*Needs minutes.*\n```sh\n./scripts/test\n```\n"):
            with self.subTest(text=text), self.assertRaises(PageError):
                blocks_of(PAGE, text)
        [block] = blocks_of(PAGE, "*Needs a clone.*\n```sh\nscripts/quickstart\n```\n")
        self.assertEqual(block.needs, "a clone")


class Comparison(unittest.TestCase):
    def same(self, shown: str, real: str, measures: bool = False) -> bool:
        return first_difference(shown.split("\n"), real.split("\n"), measures) is None

    def test_figures_of_the_planner_are_equal(self):
        self.assertTrue(self.same("step 1.51 s", "step 1.51 s"))
        self.assertFalse(self.same("step 1.51 s", "step 1.52 s"))

    def test_times_of_the_host_are_masked_and_losses_are_close(self):
        self.assertTrue(self.same("loss 7.6912  212 ms", "loss 7.6913   9.8 s", True))
        self.assertTrue(self.same("MFU 6.9 %  ETA 0:00:06", "MFU 36.5 %  ETA 0:01:01", True))
        self.assertFalse(self.same("loss 7.69  212 ms", "loss 7.59  212 ms", True))
        self.assertFalse(self.same("tp bytes 1024", "tp bytes 1026", True))

    def test_dots_stand_for_lines_or_for_text(self):
        self.assertTrue(self.same("a\n...\nd", "a\nb\nc\nd"))
        self.assertTrue(self.same("a\n...", "a"))
        self.assertTrue(self.same("a ... d", "a b c d"))
        self.assertFalse(self.same("a\n...\nd", "a\nb\nc"))

    def test_what_goes_on_or_ends_too_early_differs(self):
        self.assertFalse(self.same("a", "a\nb"))
        self.assertFalse(self.same("a\nb", "a"))


class Running(unittest.TestCase):
    def run_text(self, text: str) -> tuple[int, list[str]]:
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "page.md"
            page.write_text(text)
            root, run_pages.ROOT = run_pages.ROOT, Path(folder)
            try:
                outcome = run_pages.run_page(page, Path("/bin/true"), False)
            finally:
                run_pages.ROOT = root
            return outcome.run, outcome.faults

    def test_commands_share_a_shell_and_a_folder(self):
        self.assertEqual(self.run_text("```console\n$ x=1; touch file\n$ echo $x; ls file\n1\nfile\n```\n"), (2, []))

    def test_a_failure_in_the_middle_of_a_script_is_one_of_the_page(self):
        run, faults = self.run_text("```sh\ntrue\nfalse\ntrue\n```\n```sh\necho never\n```\n")
        self.assertEqual((run, len(faults)), (1, 1))
        self.assertIn("exit code 1", faults[0])

    def test_another_output_is_a_fault(self):
        _, faults = self.run_text("```console\n$ echo one\ntwo\n```\n")
        self.assertEqual(len(faults), 1)


class Promises(unittest.TestCase):
    def test_every_test_that_reliability_names_is_there(self):
        page = (ROOT / "docs/reliability.md").read_text()
        code = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*") if path.suffix in (".cpp", ".py"))
        named = re.findall(r"`(?:test_\w+\.py: )?(test_\w+|[A-Z]\w+\.[A-Z]\w+)`", page)
        self.assertGreater(len(named), 20)
        for name in named:
            with self.subTest(test=name):
                suite, _, case = name.rpartition(".")
                self.assertRegex(code, rf"TEST(_F)?\({suite}, {case}\)" if suite else rf"def {name}\(")
        for path in re.findall(r"`(tests/[\w/.]+)`", page):
            self.assertTrue((ROOT / path).exists(), path)


if __name__ == "__main__":
    unittest.main()
