#!/usr/bin/env python3
"""Is bad input of a case directory named?   test_bad_cases.py ATTEST

Legal cases of every operator, broken in one way each.
"""

import os
import subprocess
import sys
import tempfile
import unittest

from need import need

need({"numpy": "python3-numpy"})
import numpy as np

from case_files import write_case

ATTEST = None


def attest(*words):
    """Run the program; returns the finished process with text output."""
    return subprocess.run([ATTEST, *words], capture_output=True, text=True, timeout=300,
                          check=False)


def zeros(*shape, dtype="f4"):
    """Shorthand for the tables below."""
    return np.zeros(shape, dtype)


def onnx_base():
    """A legal case of the operator with everything optional that goes together."""
    inputs = {"Q": zeros(1, 2, 3, 4), "K": zeros(1, 2, 5, 4), "V": zeros(1, 2, 5, 4),
              "attn_mask": zeros(3, 5, dtype=bool), "nonpad_kv_seqlen": zeros(1, dtype="i8")}
    return "Attention", {}, inputs, {"Y": (1, 2, 3, 4)}


def heads_base():
    """A legal MultiHeadAttention."""
    inputs = {"x": zeros(2, 3, 6), "memory": zeros(2, 5, 6), "in_proj_weight": zeros(18, 6),
              "in_proj_bias": zeros(18), "out_proj_weight": zeros(6, 6), "out_proj_bias": zeros(6),
              "key_padding_mask": zeros(2, 5, dtype=bool)}
    return "MultiHeadAttention", {"num_heads": 2}, inputs, {"y": (2, 3, 6)}


def self_base():
    """A legal SelfAttention."""
    inputs = {"x": zeros(2, 3, 6), "wq": zeros(4, 6), "wk": zeros(4, 6), "wv": zeros(5, 6)}
    return "SelfAttention", {}, inputs, {"y": (2, 3, 5)}


def decoder_base():
    """A legal DecoderAttention with additive score."""
    inputs = {"query": zeros(2, 4), "key": zeros(3, 2, 5), "value": zeros(3, 2, 6),
              "w1": zeros(7, 4), "w2": zeros(7, 5), "va": zeros(7)}
    return "DecoderAttention", {"score": "additive"}, inputs, {"context": (2, 6)}


def encoder_base():
    """A legal TransformerEncoder of one layer."""
    layer = "encoder.layers.0."
    inputs = {"tokens": zeros(2, 3, dtype="i8"), "embedding.weight": zeros(9, 6),
              "position.weight": zeros(4, 6), layer + "self_attn.in_proj_weight": zeros(18, 6),
              layer + "self_attn.out_proj.weight": zeros(6, 6),
              layer + "linear1.weight": zeros(8, 6), layer + "linear2.weight": zeros(6, 8)}
    for norm in ("norm1", "norm2"):
        inputs |= {f"{layer}{norm}.weight": zeros(6), f"{layer}{norm}.bias": zeros(6)}
    attributes = {"num_heads": 2, "num_layers": 1, "dim_feedforward": 8}
    return "TransformerEncoder", attributes, inputs, {"hidden": (2, 3, 6)}


# A legal case, what is done to it (attributes, inputs, outputs; None removes), what must be named.
BROKEN = [
    (onnx_base, {}, {"attn_mask": zeros(2, 5, dtype=bool)}, {},
     ["attn_mask", "(2, 5)", "(1, 2, 3, 5)"]),
    (onnx_base, {}, {"attn_mask": zeros(3, 6, dtype=bool)}, {}, ["attn_mask", "(3, 6)"]),
    (onnx_base, {}, {"nonpad_kv_seqlen": zeros(1, dtype="i8") + 6}, {},
     ["nonpad_kv_seqlen[0] is 6", "0 to 5"]),
    (onnx_base, {}, {"nonpad_kv_seqlen": zeros(2, dtype="i8")}, {},
     ["nonpad_kv_seqlen", "(2,)", "(1,)"]),
    (onnx_base, {}, {"past_key": zeros(1, 2, 2, 4), "past_value": zeros(1, 2, 2, 4)}, {},
     ["past_key has shape (1, 2, 2, 4)", "present_key with shape (1, 2, 7, 4)"]),
    (onnx_base, {}, {"past_key": zeros(1, 2, 2, 4)}, {}, ["past_key (1, 2, 2, 4)", "past_value"]),
    (onnx_base, {}, {}, {"present_value": (1, 2, 5, 4)},
     ["present_value (1, 2, 5, 4) is given without present_key"]),
    (onnx_base, {}, {"past_key": zeros(1, 2, 2, 4), "past_value": zeros(1, 2, 2, 4),
                     "attn_mask": None},
     {"present_key": (1, 2, 7, 4), "present_value": (1, 2, 7, 4)},
     ["nonpad_kv_seqlen (1,)", "past_key"]),
    (onnx_base, {}, {"Q": zeros(1, 3, 3, 4)}, {"Y": (1, 3, 3, 4)},
     ["Q has shape (1, 3, 3, 4)", "heads is 3", "multiple of the 2 of K (1, 2, 5, 4)"]),
    (onnx_base, {"heads": 2}, {}, {}, ["heads", "q_num_heads"]),
    (onnx_base, {"is_causal": 2}, {}, {}, ["is_causal is 2"]),
    (onnx_base, {"softmax_precision": 7}, {}, {}, ["softmax_precision is 7"]),
    (onnx_base, {}, {"V": None}, {}, ['"V" is missing']),
    (onnx_base, {}, {"K": zeros(1, 2, 5, 3)}, {}, ["K has shape (1, 2, 5, 3)", "(1, 2, 3, 4)"]),
    (onnx_base, {}, {}, {"Y": (1, 3, 2, 4)}, ["Y has shape (1, 3, 2, 4)", "(1, 2, 3, 4)"]),
    (onnx_base, {}, {"Q": zeros(1, 2, 3, 4, dtype="i4")}, {}, ["Q", "int32", "float32"]),
    (heads_base, {}, {"in_proj_weight": zeros(17, 6)}, {},
     ["in_proj_weight", "(17, 6)", "(18, 6)"]),
    (heads_base, {}, {"in_proj_bias": zeros(6)}, {}, ["in_proj_bias", "(6,)", "(18,)"]),
    (heads_base, {}, {"out_proj_weight": None}, {}, ['"out_proj_weight" is missing']),
    (heads_base, {}, {"out_proj_weight": zeros(6)}, {}, ["out_proj_weight", "(6,)", "(6, 6)"]),
    (heads_base, {}, {"memory": zeros(2, 5, 7)}, {}, ["memory", "(2, 5, 7)", "(2, any, 6)"]),
    (heads_base, {}, {"key_padding_mask": zeros(2, 3, dtype=bool)}, {},
     ["key_padding_mask", "(2, 3)", "(2, 5)"]),
    (heads_base, {}, {"key_padding_mask": zeros(2, 5)}, {},
     ["key_padding_mask", "float32", "bool"]),
    (heads_base, {"num_heads": 4}, {}, {}, ["6", "num_heads = 4"]),
    (heads_base, {"num_heads": None}, {}, {}, ['"num_heads" is missing']),
    (heads_base, {}, {"x": zeros(3, 6)}, {}, ["x has shape (3, 6)", "(any, any, any)"]),
    (self_base, {}, {"wk": zeros(3, 6)}, {}, ["wk", "(3, 6)", "(4, 6)"]),
    (self_base, {}, {"wv": zeros(5, 4)}, {}, ["wv", "(5, 4)", "(5, 6)"]),
    (self_base, {}, {"bq": zeros(5)}, {}, ["bq", "(5,)", "(4,)"]),
    (self_base, {}, {}, {"weights": (2, 1, 3, 3)}, ["weights", "(2, 1, 3, 3)", "(2, 3, 3)"]),
    (decoder_base, {}, {"w2": zeros(7, 4)}, {}, ["w2", "(7, 4)", "(7, 5)"]),
    (decoder_base, {}, {"va": None}, {}, ["va", "missing"]),
    (decoder_base, {}, {"w": zeros(4, 5)}, {}, ["input w has no use"]),
    (decoder_base, {"score": "general"}, {"w1": None, "w2": None, "va": None}, {},
     ['"w" (4, 5) is missing']),
    (decoder_base, {"score": "cosine"}, {}, {}, ["cosine", "additive"]),
    (decoder_base, {}, {"value": zeros(4, 2, 6)}, {}, ["value", "(4, 2, 6)", "(3, 2, 5)"]),
    (encoder_base, {}, {"tokens": zeros(2, 3, dtype="i8") + 9}, {},
     ["tokens[0, 0] is 9", "0 to 8"]),
    (encoder_base, {}, {"tokens": zeros(2, 5, dtype="i8")}, {"hidden": (2, 5, 6)},
     ["position.weight", "4"]),
    (encoder_base, {"num_layers": 2}, {}, {}, ["encoder.layers.1.", "missing"]),
    (encoder_base, {}, {"encoder.layers.1.norm1.bias": zeros(6)}, {},
     ["encoder.layers.1.norm1.bias"]),
    (encoder_base, {}, {"encoder.layers.x.norm1.bias": zeros(6)}, {},
     ['unknown "encoder.layers.x.']),
    (encoder_base, {}, {"encoder.layers.0.linear2.weight": zeros(6, 6)}, {},
     ["encoder.layers.0.linear2.weight", "(6, 6)", "(6, 8)"]),
    (encoder_base, {}, {"position.weight": zeros(4, 5)}, {},
     ["position.weight", "(4, 5)", "(any, 6)"]),
    (encoder_base, {}, {}, {"logits": (2, 3, 9)}, ["fc_out.weight", "missing"]),
]


def changed(base, attributes, inputs, outputs):
    """A copy of a legal case with entries replaced, or removed where they are None."""
    op, *parts = base()
    changes = (attributes, inputs, outputs)
    return op, *({k: v for k, v in (part | change).items() if v is not None}
                 for part, change in zip(parts, changes))


class BadInput(unittest.TestCase):
    """One line that names tensor, shape found and shape expected; exit 2; nothing written."""

    def refused(self, folder, words):
        """The case is refused by conform and by run, in the same words."""
        output = folder + " out"
        for command in (["conform", folder], ["run", folder, "-o", output]):
            done = attest(*command)
            self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            for word in words:
                self.assertIn(word, done.stderr)
        self.assertFalse(os.path.exists(output))

    def test_table(self):
        with tempfile.TemporaryDirectory() as folder:
            for number, (base, attributes, inputs, outputs, words) in enumerate(BROKEN):
                case = os.path.join(folder, str(number))
                with self.subTest(case=number, words=words):
                    write_case(case, *changed(base, attributes, inputs, outputs), rtol=1, atol=1)
                    self.refused(case, words)

    def test_bases_are_legal(self):
        """What the table breaks is right before."""
        with tempfile.TemporaryDirectory() as folder:
            for base in (onnx_base, heads_base, self_base, decoder_base, encoder_base):
                case = os.path.join(folder, base.__name__)
                write_case(case, *base(), rtol=1, atol=1)
                done = attest("conform", case, "--kernels", "naive_auto")
                self.assertIn(done.returncode, (0, 77), done.stderr)
                self.assertEqual(done.returncode == 77, "built without BLAS" in done.stdout)

    def test_unknown_op(self):
        with tempfile.TemporaryDirectory() as folder:
            _, *rest = onnx_base()
            write_case(os.path.join(folder, "case"), "Attentoin", *rest)
            self.refused(os.path.join(folder, "case"), ["Attentoin", "MultiHeadAttention"])

    def test_projections_need_a_tolerance(self):
        with tempfile.TemporaryDirectory() as folder:
            write_case(folder, *self_base())
            done = attest("conform", folder)
            self.assertEqual(done.returncode, 2)
            self.assertIn("rtol and atol are missing", done.stderr)


if __name__ == "__main__":
    ATTEST = os.path.abspath(sys.argv.pop(1))
    unittest.main()
