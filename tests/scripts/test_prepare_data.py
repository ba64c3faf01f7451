"""What scripts/prepare_data promises, checked by running it as users do."""
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import tokenizers

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINES = ["The quick brown fox jumps over the lazy dog.", "  indented, two  spaces", "naïve, 北京, 🦊 – and\ttabs"]


class PrepareData(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.text = self.write("text.txt", "\n".join([LINES[0], "", LINES[1], "   ", LINES[2]]) + "\n")

    def write(self, name: str, content: str) -> pathlib.Path:
        path = self.folder / name
        path.write_text(content, encoding="utf-8")
        return path

    def run_script(self, *arguments) -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / "scripts/prepare_data"), *map(str, arguments)]
        offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(self.folder / "hub")}
        return subprocess.run(command, capture_output=True, text=True, timeout=240, env={**os.environ, **offline})

    def prepare(self, *arguments, tokenizer=("--train-tokenizer", 300), out="out") -> dict:
        result = self.run_script(*arguments, *tokenizer, "--out", self.folder / out)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)

    def refusal(self, *arguments, code: int, tokenizer=("--train-tokenizer", 300)) -> str:
        result = self.run_script(*arguments, *tokenizer, "--out", self.folder / "refused")
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertNotIn("Traceback", result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertEqual(list(self.folder.glob("*refused*.bin*")) + list(self.folder.glob("*refused*.idx*")), [])
        return result.stderr

    def sequences(self, summary: dict) -> list[list[int]]:
        """Reads the dataset by its format's definition, and checks what must hold of it."""
        index = pathlib.Path(summary["paths"]["idx"]).read_bytes()
        data = pathlib.Path(summary["paths"]["bin"]).read_bytes()
        self.assertEqual(index[:9], b"MMIDIDX\0\0")
        version, code, count, documents = struct.unpack_from("<QBQQ", index, 9)
        self.assertEqual((version, count, documents), (1, summary["sequences"], summary["sequences"] + 1))
        dtype = {8: np.dtype("<u2"), 4: np.dtype("<i4")}[code]
        self.assertEqual(dtype.name, summary["dtype"])
        lengths = np.frombuffer(index, "<i4", count, 34)
        pointers = np.frombuffer(index, "<i8", count, 34 + 4 * count)
        np.testing.assert_array_equal(np.frombuffer(index, "<i8", documents, 34 + 12 * count), np.arange(documents))
        self.assertEqual(len(index), 34 + 12 * count + 8 * documents)
        self.assertEqual(len(data), int(lengths.sum()) * dtype.itemsize)
        self.assertEqual(int(lengths.sum()), summary["tokens"])
        return [np.frombuffer(data, dtype, n, p).tolist() for n, p in zip(lengths.tolist(), pointers.tolist())]

    def decoded(self, summary: dict) -> list[str]:
        tokenizer = tokenizers.Tokenizer.from_file(summary["paths"]["tokenizer"] + "/tokenizer.json")
        return [tokenizer.decode(ids) for ids in self.sequences(summary)]

    def test_lines_come_back_from_the_tokens(self):
        self.assertEqual(self.decoded(self.prepare("--text", self.text)), LINES)

    def test_paragraphs_come_back_from_the_tokens(self):
        text = self.write("p.txt", "\n\none\ntwo\n \nthree")
        self.assertEqual(self.decoded(self.prepare("--text", text, "--document", "paragraph")), ["one\ntwo", "three"])

    def test_rows_of_jsonl_parquet_and_datasets_are_documents(self):
        import pyarrow
        import pyarrow.parquet

        rows = [{"body": line, "id": i} for i, line in enumerate([LINES[0], "", *LINES[1:]])]
        jsonl = self.write("rows.jsonl", "\n\n".join(map(json.dumps, rows)))
        parquet = self.folder / "rows.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([*rows, {"body": None, "id": 9}]), parquet)
        folder = self.folder / "dataset"
        folder.mkdir()
        (folder / "train.jsonl").write_bytes(jsonl.read_bytes())
        for source in (("--text", jsonl), ("--text", parquet), ("--dataset", folder)):
            with self.subTest(source=source):
                self.assertEqual(self.decoded(self.prepare(*source, "--field", "body")), LINES)

    def test_same_input_gives_the_same_bytes(self):
        texts = sorted(ROOT.glob("*.md")) + [ROOT / "LICENSE"]
        first, second = (self.prepare("--text", *texts, tokenizer=("--train-tokenizer", 1000), out=out) for out in "ab")
        self.assertEqual({**first, "paths": None}, {**second, "paths": None})
        for name in (".bin", ".idx", ".tokenizer/tokenizer.json"):
            self.assertEqual((self.folder / f"a{name}").read_bytes(), (self.folder / f"b{name}").read_bytes(), name)

    def test_trained_tokenizer_is_what_transformers_loads(self):
        summary = self.prepare("--text", self.text)
        import transformers

        loaded = transformers.AutoTokenizer.from_pretrained(summary["paths"]["tokenizer"])
        self.assertEqual([loaded(line)["input_ids"] for line in LINES], self.sequences(summary))
        self.assertEqual(loaded.eos_token, "<|endoftext|>")

    def test_named_tokenizer_gives_the_same_with_and_without_transformers(self):
        trained = self.prepare("--text", self.text)
        directory = pathlib.Path(trained["paths"]["tokenizer"])
        direct = self.prepare("--text", self.text, "--append-eos", tokenizer=("--tokenizer", directory), out="direct")
        settings = json.loads((directory / "tokenizer_config.json").read_text())
        settings["tokenizer_class"] = "GPT2TokenizerFast"
        (directory / "tokenizer_config.json").write_text(json.dumps(settings))
        through = self.prepare("--text", self.text, "--append-eos", tokenizer=("--tokenizer", directory), out="through")
        eos = 0  # the first special token
        self.assertEqual(self.sequences(direct), [[*ids, eos] for ids in self.sequences(trained)])
        self.assertEqual(self.sequences(through), self.sequences(direct))

    def test_percentage_and_max_tokens_cut(self):
        text = self.write("ten.txt", "".join(f"line {i}\n" for i in range(10)))
        self.assertEqual(self.decoded(self.prepare("--text", text, "--percentage", 30)), ["line 0", "line 1", "line 2"])
        everything = self.sequences(self.prepare("--text", text))
        summary = self.prepare("--text", text, "--max-tokens", len(everything[0]) + 1)
        self.assertEqual(self.sequences(summary), [everything[0], everything[1][:1]])

    def test_large_vocabulary_is_stored_in_32_bits(self):
        vocabulary = {f"w{i}": i for i in range(65500)}
        tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="w0"))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        tokenizer.save(str(self.folder / "tokenizer.json"))
        text = self.write("words.txt", "w65499 w1\nw2\n")
        summary = self.prepare("--text", text, tokenizer=("--tokenizer", self.folder))
        self.assertEqual((summary["dtype"], self.sequences(summary)), ("int32", [[65499, 1], [2]]))

    def test_replaces_an_older_dataset(self):
        self.prepare("--text", self.write("old.txt", "something older\n" * 50))
        self.assertEqual(self.decoded(self.prepare("--text", self.text)), LINES)
        self.assertEqual(sorted(p.name for p in self.folder.glob("*out*")), ["out.bin", "out.idx", "out.tokenizer"])

    def test_failure_half_way_leaves_the_older_dataset_alone(self):
        before = self.decoded(self.prepare("--text", self.text))
        bad = self.write("bad.jsonl", '{"text": "fine"}\n' * 3000 + "{")
        tokenizer = self.folder / "out.tokenizer"
        result = self.run_script("--text", bad, "--tokenizer", tokenizer, "--out", self.folder / "out")
        self.assertEqual(result.returncode, 3)
        self.assertEqual(sorted(p.name for p in self.folder.glob("*out*")), ["out.bin", "out.idx", "out.tokenizer"])
        self.assertEqual(self.decoded(self.prepare("--text", self.text, out="again")), before)
        for kind in ("bin", "idx"):
            self.assertEqual((self.folder / f"out.{kind}").read_bytes(), (self.folder / f"again.{kind}").read_bytes())

    def test_starts_over_under_the_named_python(self):
        arguments = ["--text", str(self.text), "--train-tokenizer", "300", "--out", str(self.folder / "out")]
        result = self.run_script(*arguments)
        # -I -S: a Python that sees no installed packages
        bare = subprocess.run([sys.executable, "-I", "-S", str(ROOT / "scripts/prepare_data"), *arguments],
                              capture_output=True, text=True, timeout=240,
                              env={**os.environ, "MESHPLAN_TORCH_PYTHON": sys.executable})
        self.assertEqual((bare.returncode, bare.stdout), (0, result.stdout), bare.stderr)

    def test_refusals_name_the_fault_and_the_remedy(self):
        bad_json = self.write("bad.jsonl", '{"text": "fine"}\n{"text": \n')
        no_field = self.write("field.jsonl", '{"body": "x"}\n')
        number = self.write("number.jsonl", '{"text": 7}\n')
        array = self.write("array.jsonl", "[1]\n")
        empty = self.write("empty.txt", "\n  \n")
        zeros = self.write("zeros.txt", "a\0b")
        parquet = self.write("bad.parquet", "no parquet")
        for source, code, words in [
            (self.folder / "absent.txt", 5, ["absent.txt", "No such file", "check path"]),
            (self.folder, 3, ["must be a file"]),
            (bad_json, 3, ["bad.jsonl:2", "not a JSON object"]),
            (no_field, 3, ["field.jsonl:1", "no field 'text'", "'body'", "--field"]),
            (number, 3, ["number.jsonl:1", "must be text, not int"]),
            (array, 3, ["array.jsonl:1", "must be an object"]),
            (empty, 3, ["no non-empty line", "empty.txt", "--text"]),
            (zeros, 3, ["zeros.txt", "not text"]),
            (parquet, 3, ["bad.parquet", "cannot be read as Parquet"]),
        ]:
            with self.subTest(source=source.name):
                message = self.refusal("--text", source, code=code)
                for word in words:
                    self.assertIn(word, message)

    def test_unreachable_hub_is_named_with_the_way_out(self):
        message = self.refusal("--dataset", "wikitext", code=5)
        for word in ("wikitext-2-raw-v1", "hub", "--text FILE"):
            self.assertIn(word, message)
        message = self.refusal("--text", self.text, code=5, tokenizer=("--tokenizer", "no-such/tokenizer"))
        self.assertIn("--train-tokenizer", message)

    def test_wrong_usage_exits_2(self):
        text = ["--text", self.text]
        for arguments in ([], [*text, "--dataset", "wikitext"], [*text, "--percentage", "0"],
                          [*text, "--percentage", "nan"], [*text, "--max-tokens", "-1"], [*text, "--nonsense"]):
            with self.subTest(arguments=arguments):
                self.refusal(*arguments, code=2)
        for vocabulary in (256, 10**9, "many"):
            with self.subTest(vocabulary=vocabulary):
                self.refusal(*text, code=2, tokenizer=("--train-tokenizer", vocabulary))


if __name__ == "__main__":
    unittest.main()
