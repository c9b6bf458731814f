#!/usr/bin/env python3
"""Are cases that nobody wrote by hand right?   test_cases.py ATTEST

Case directories are made here: random combinations of what the ONNX operator Attention defines,
with answers from the loops below (float64, one query at a time, written from the operator's text
alone). Where the inputs are exact in float32 the derived bound judges. Broken cases are those of
test_bad_cases.py.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from need import need

need({"numpy": "python3-numpy"})
import numpy as np

from case_files import write_case

ATTEST = None
SHARED = os.environ.get("ATTEST_SHARED_DATA") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "shared", "data")
COMBINATIONS = 150


def attest(*words):
    """Run the program; returns the finished process with text output."""
    return subprocess.run([ATTEST, *words], capture_output=True, text=True, timeout=300,
                          check=False)


# --- the operator, from its text -------------------------------------------------------------


def by_heads(x, heads):
    """[batch, len, heads * size] or [batch, heads, len, size] -> the latter."""
    return x if x.ndim == 4 else x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def full_mask(mask, shape):
    """The mask as added float64 [batch, heads, queries, keys]; keys beyond its width are hidden."""
    short = shape[-1] - mask.shape[-1]
    added = np.where(mask, 0.0, -np.inf) if mask.dtype == bool else mask.astype(np.float64)
    added = np.pad(added, [(0, 0)] * (mask.ndim - 1) + [(0, short)], constant_values=-np.inf)
    return np.broadcast_to(added, shape)


def visible_keys(attributes, offset, i, keys, length):
    """Keys that causal, window and length leave to query i."""
    left, right = (attributes.get(f"{side}_window_size", -1) for side in ("left", "right"))
    place = offset + i
    return [j for j in range(min(keys, length))
            if not (attributes.get("is_causal") and j > place)
            and not (left >= 0 and j < place - left) and not (right >= 0 and j > place + right)]


def row(attributes, q, k, v, added, seen):
    """One query: (output, [scores, capped, masked, weights])."""
    score = k @ q * np.float32(attributes.get("scale", 1 / np.sqrt(np.float32(q.size))))
    cap = np.float32(attributes.get("softcap", 0)).astype(np.float64)
    capped = cap * np.tanh(score / cap) if cap > 0 else score
    masked = np.full(score.shape, -np.inf)
    masked[seen] = capped[seen] + added[seen]
    top = masked.max(initial=-np.inf)
    weights = np.exp(masked - top) if np.isfinite(top) else np.zeros(score.shape)
    weights = weights / weights.sum() if np.isfinite(top) else weights
    used = weights > 0
    return weights[used] @ v[used], (score, capped, masked, weights)


def operator(attributes, inputs):
    """Y and qk_matmul_output in float64, present_key, present_value."""
    q = by_heads(inputs["Q"], attributes.get("q_num_heads")).astype(np.float64)
    k, v = (by_heads(inputs[name], attributes.get("kv_num_heads")) for name in "KV")
    past = 0
    if "past_key" in inputs:
        past = inputs["past_key"].shape[2]
        k = np.concatenate([inputs["past_key"], k], 2)
        v = np.concatenate([inputs["past_value"], v], 2)
    batch, heads, queries, _ = q.shape
    keys, group = k.shape[2], heads // k.shape[1]
    shape = (batch, heads, queries, keys)
    added = full_mask(inputs.get("attn_mask", np.zeros(1).repeat(keys)), shape)
    lengths = inputs.get("nonpad_kv_seqlen", [keys] * batch)
    y, scores = np.zeros((*shape[:3], v.shape[3])), np.zeros(shape)
    for b, h, i in np.ndindex(shape[:3]):
        offset = int(lengths[b]) - queries if "nonpad_kv_seqlen" in inputs else past
        seen = visible_keys(attributes, offset, i, keys, int(lengths[b]))
        y[b, h, i], stages = row(attributes, q[b, h, i], k[b, h // group].astype(np.float64),
                                 v[b, h // group].astype(np.float64), added[b, h, i], seen)
        scores[b, h, i] = stages[attributes.get("qk_matmul_output_mode", 0)]
    if inputs["Q"].ndim == 3:
        y = y.transpose(0, 2, 1, 3).reshape(batch, queries, -1)
    return y, scores, k, v


# --- random combinations ---------------------------------------------------------------------


def make_mask(pick, shape):
    """A mask of any rank and type, perhaps shorter than the keys, perhaps hiding whole rows."""
    rank = pick.integers(1, 5)
    extents = [n if pick.random() < 0.6 else 1 for n in shape[4 - rank:]]
    extents[-1] = shape[-1] if pick.random() < 0.6 else int(pick.integers(1, shape[-1] + 1))
    kind = pick.choice(["bool", "float32", "float16", "float64", "int8", "int32", "int64", "uint8"])
    if kind == "bool":
        return pick.random(extents) < 0.5
    mask = pick.integers(-3, 4, extents) if kind != "uint8" else pick.integers(0, 4, extents)
    mask = mask.astype(kind)
    if kind.startswith("float"):
        mask = (mask / 2).astype(kind)
        mask[pick.random(extents) < 0.3] = -np.inf
    return mask


def maybe(pick, attributes, name, choices, chance=0.5):
    """Set an attribute with that chance to one of the choices."""
    if pick.random() < chance:
        attributes[name] = pick.choice(choices).item()


def make_inputs(pick, attributes):
    """Random shapes, layouts and optional inputs."""
    batch, kv_heads, group, queries, keys, d, e = (
        int(pick.integers(low, high)) for low, high in
        ((1, 4), (1, 4), (1, 4), (1, 9), (1, 12), (1, 20), (1, 20)))
    dtype = pick.choice(["float32", "float32", "float16", "float64"])
    flat = pick.random() < 0.5

    def tensor(heads, length, size, layout):
        x = pick.standard_normal((batch, heads, length, size)).astype(dtype)
        return x.transpose(0, 2, 1, 3).reshape(batch, length, -1).copy() if layout else x

    inputs = {"Q": tensor(kv_heads * group, queries, d, flat), "K": tensor(kv_heads, keys, d, flat),
              "V": tensor(kv_heads, keys, e, flat)}
    if flat or pick.random() < 0.3:
        attributes |= {"q_num_heads": kv_heads * group, "kv_num_heads": kv_heads}
    cache = pick.choice(["none", "past", "lengths", "present"])
    past = int(pick.integers(0, 7)) if cache == "past" else 0
    if cache == "past":
        inputs |= {"past_key": tensor(kv_heads, past, d, False),
                   "past_value": tensor(kv_heads, past, e, False)}
    if cache == "lengths":
        inputs["nonpad_kv_seqlen"] = pick.integers(0, keys + 1, batch)
    if pick.random() < 0.6:
        inputs["attn_mask"] = make_mask(pick, (batch, kv_heads * group, queries, keys + past))
    return inputs, cache


def make_case(seed, folder):
    """Write random case number `seed`."""
    pick = np.random.Generator(np.random.PCG64(seed))
    attributes = {}
    inputs, cache = make_inputs(pick, attributes)
    maybe(pick, attributes, "is_causal", [0, 1])
    maybe(pick, attributes, "left_window_size", [-1, 0, 1, 3], 0.3)
    maybe(pick, attributes, "right_window_size", [-1, 0, 2], 0.3)
    maybe(pick, attributes, "scale", [0.25, 1.0, -0.5], 0.3)
    maybe(pick, attributes, "softcap", [0.5, 3.0], 0.3)
    maybe(pick, attributes, "softmax_precision", [1, 10, 11, 16], 0.2)
    wants_scores = pick.random() < 0.5
    if wants_scores:
        attributes["qk_matmul_output_mode"] = int(pick.integers(0, 4))
    y, scores, k, v = operator(attributes, inputs)
    dtype = inputs["Q"].dtype
    outputs = {"Y": y.astype(dtype)}
    if cache in ("past", "present"):
        outputs |= {"present_key": k, "present_value": v}
    if wants_scores:
        outputs["qk_matmul_output"] = scores.astype(dtype)
    rounded = "float64" in (dtype, str(inputs.get("attn_mask", y.astype("f4")).dtype))
    tolerance = {"rtol": 2e-3 if dtype == "float16" else 2e-5, "atol": 2e-5} if rounded else {}
    write_case(folder, "Attention", attributes, inputs, outputs, **tolerance)


class Combinations(unittest.TestCase):
    """Every kernel takes every case of the operator, and gives the answer of the loops above."""

    def test_operator(self):
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(COMBINATIONS):
                make_case(seed, os.path.join(folder, f"random{seed:03}"))
            report, page = (os.path.join(folder, name) for name in ("report.json", "page.md"))
            done = attest("conform", folder, "--json", report, "--markdown", page)
            self.assertEqual(done.returncode, 0, done.stdout[-3000:] + done.stderr)
            with open(report, encoding="utf-8") as file:
                results = json.load(file)["results"]
            with open(page, encoding="utf-8") as file:
                rows = [line for line in file if line.startswith("| random")]
            self.assertEqual(len(rows), COMBINATIONS)
            self.assertEqual({row.count("|") - 2 for row in rows}, {len(results) // COMBINATIONS})
        self.assertEqual(len(results) % COMBINATIONS, 0)
        self.assertEqual([r for r in results if r["status"] != "pass"], [])

    def test_degenerate(self):
        """No keys, queries or batch, an empty past, a mask of one element, V of its own type."""
        def x(*shape, dtype="f4"):
            return np.arange(np.prod(shape)).reshape(shape).astype(dtype) % 7 - 3

        q, k, v = x(1, 2, 3, 4), x(1, 2, 5, 4), x(1, 2, 5, 6)
        past = {"past_key": x(1, 2, 4, 4), "past_value": x(1, 2, 4, 6)}
        cases = [
            {"Q": q, "K": k[:, :, :0], "V": v[:, :, :0]}, {"Q": q[:, :, :0], "K": k, "V": v},
            {"Q": q, "K": k[:, :, :0], "V": v[:, :, :0]} | past,
            {"Q": q[:0], "K": k[:0], "V": v[:0]},
            {"Q": q, "K": k, "V": v} | {name: a[:, :, :0] for name, a in past.items()},
            {"Q": q, "K": k, "V": v, "attn_mask": np.array([True])},
            {"Q": q, "K": k, "V": v.astype("f2")}]
        with tempfile.TemporaryDirectory() as folder:
            for number, inputs in enumerate(cases):
                y, scores, keys, values = operator({}, inputs)
                outputs = {"Y": y.astype("f4"), "qk_matmul_output": scores.astype("f4"),
                           "present_key": keys, "present_value": values}
                write_case(os.path.join(folder, str(number)), "Attention", {}, inputs, outputs)
            done = attest("conform", folder, "--kernels", "naive_auto,blocked_auto")
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn(f"{2 * len(cases)} passed, 0 failed, 0 unsupported", done.stdout)

    def test_wrong_answer_is_found(self):
        """The loops and the program do not agree by accident: a changed answer fails."""
        with tempfile.TemporaryDirectory() as folder:
            make_case(3, folder)
            path = os.path.join(folder, "out_Y.npy")
            y = np.load(path)
            y.flat[-1] += 0.01 * (1 + abs(y.flat[-1]))
            np.save(path, y)
            done = attest("conform", folder, "--kernels", "naive_auto")
            self.assertEqual(done.returncode, 1, done.stdout)


# --- replay ----------------------------------------------------------------------------------


class Replay(unittest.TestCase):
    """`attest run` writes what a case declares, and numpy reads it."""

    def replay(self, case, kernel):
        """Run one case directory; compare types, shapes and, roughly, values."""
        with open(os.path.join(case, "case.json"), encoding="utf-8") as file:
            record = json.load(file)
        with tempfile.TemporaryDirectory() as folder:
            done = attest("run", case, "-o", folder, "--kernel", kernel)
            if "built without BLAS" in done.stderr:
                return False
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(sorted(os.listdir(folder)),
                             sorted(f"out_{name}.npy" for name in record["outputs"]))
            for name, declared in record["outputs"].items():
                got, want = (np.load(os.path.join(place, f"out_{name}.npy"))
                             for place in (folder, case))
                self.assertEqual(str(got.dtype), declared["dtype"])
                self.assertEqual(list(got.shape), declared["shape"])
                if "key_padding_mask" in record["inputs"] and record["op"] == "TransformerEncoder":
                    shown = ~np.load(os.path.join(case, "in_key_padding_mask.npy"))
                    got, want = got[shown], want[shown]
                np.testing.assert_allclose(got, want, rtol=record.get("rtol", 1e-3), atol=1e-3)
        return True

    def test_random(self):
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(20):
                make_case(seed, os.path.join(folder, str(seed)))
                self.assertTrue(self.replay(os.path.join(folder, str(seed)), "best"))

    def test_shared(self):
        families = [os.path.join(SHARED, name) for name in ("onnx-attention", "attention-family")]
        cases = [os.path.join(family, name) for family in families if os.path.isdir(family)
                 for name in sorted(os.listdir(family))]
        if not cases:
            self.skipTest("no shared cases beside the checkout")
        replayed = sum(self.replay(case, "naive_auto") for case in cases)
        self.assertGreaterEqual(replayed, 63)


# --- the page of the family ------------------------------------------------------------------


class FamilyPage(unittest.TestCase):
    """kernels/README.md names keys that exist, and says of every algorithm what it refuses."""

    PAGE = Path(__file__).resolve().parent.parent / "kernels" / "README.md"

    def test_keys(self):
        rows = [line.split(" | ") for line in self.PAGE.read_text(encoding="utf-8").splitlines()
                if line.startswith("| ") and line.count(" | ") == 4][2:]
        self.assertGreaterEqual(len(rows), 19)
        for name, *_, keys, kernels in rows:
            for key in re.findall("`([^`]+)`", keys):
                key = re.sub("[qkd][0-9]{2,}", lambda size: size[0][0] + "7", key)  # for speed
                done = attest("verify", "--problems", key, "--kernels", "naive_auto,blocked_auto",
                              "--json", "-")
                self.assertEqual(done.returncode, 0, name + done.stderr)
                status = {r["kernel"]: r["status"] for r in json.loads(done.stdout)["results"]}
                self.assertEqual(status["naive_auto"], "pass", name)
                self.assertEqual(status["blocked_auto"] == "pass", kernels.startswith("all"), name)


if __name__ == "__main__":
    ATTEST = os.path.abspath(sys.argv.pop(1))
    unittest.main()
