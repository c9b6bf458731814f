#!/usr/bin/env python3
"""Does scripts/inspect find what is planted, and leave good code alone?"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import unittest

import machine_code as code

HERE = os.path.dirname(os.path.abspath(__file__))
COMPILERS = {"x86_64": ["x86_64-linux-gnu-gcc"], "aarch64": ["aarch64-linux-gnu-gcc"]}
COMPILERS.setdefault(platform.machine(), []).extend(["gcc", "clang"])

# A tile of TILE rows of one vector: TILE multiply-adds, TILE accumulators, two registers besides.
TILE_C = """
typedef float lanes __attribute__((vector_size(BYTES)));
void tile(const float *a, const lanes *b, lanes *out, long steps)
{
    lanes sum[TILE];
    for (int t = 0; t < TILE; t++) sum[t] = out[t];
    for (long x = 0; x < steps; x++)
#pragma GCC unroll 64
        for (int t = 0; t < TILE; t++) sum[t] += a[x * TILE + t] * b[x];
    for (int t = 0; t < TILE; t++) out[t] = sum[t];
}
"""
AVX2 = ["-mavx2", "-mfma"]
AVX512 = ["-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mfma"]
SVE256 = ["-march=armv8.2-a+sve", "-msve-vector-bits=256"]

# ISA the library claims, machine, flags, source, and a word of the complaint ("" = none).
PLANTED = [
    ("avx2", "x86_64", [*AVX2, "-DBYTES=32", "-DTILE=8"], TILE_C, ""),
    ("avx2", "x86_64", [*AVX2, "-DBYTES=32", "-DTILE=24"], TILE_C, "spill in flash_avx2"),
    ("avx2", "x86_64", [*AVX512, "-DBYTES=32", "-DTILE=24"], TILE_C, "not in avx2: flash_avx2"),
    ("avx2", "x86_64", [*AVX512, "-DBYTES=64", "-DTILE=8"], TILE_C, "zmm"),
    ("avx2", "x86_64", [*AVX2, "-DBYTES=32", "-DTILE=3"], TILE_C, "nothing was judged"),
    ("avx512", "x86_64", [*AVX512, "-DBYTES=64", "-DTILE=24"], TILE_C, ""),
    ("avx512", "x86_64", [*AVX512, "-DBYTES=64", "-DTILE=40"], TILE_C, "spill in flash_avx512"),
    ("avx512", "x86_64", [*AVX512, "-mavx512vpopcntdq"], """
typedef long long lanes __attribute__((vector_size(64)));
lanes count(lanes x) { return (lanes)__builtin_ia32_vpopcountq_v8di(x); }""", "vpopcnt"),
    ("auto", "x86_64", ["-DBYTES=16", "-DTILE=8"], TILE_C, ""),
    ("auto", "x86_64", ["-mavx", "-DBYTES=16", "-DTILE=8"], TILE_C, "not in auto"),
    ("auto", "x86_64", ["-msse4.1", "-ffast-math"],
     "float down(float x) { return __builtin_floorf(x); }", "rounds"),
    ("auto", "x86_64", ["-mpopcnt"], "int bits(int x) { return __builtin_popcount(x); }", "popcnt"),
    ("neon", "aarch64", ["-DBYTES=16", "-DTILE=8"], TILE_C, ""),
    ("neon", "aarch64", ["-DBYTES=16", "-DTILE=40"], TILE_C, "spill in flash_neon"),
    ("neon", "aarch64", [*SVE256, "-DBYTES=32", "-DTILE=8"], TILE_C, "z0"),
    ("neon", "aarch64", ["-march=armv8.1-a"],
     "int add(int *x) { return __atomic_fetch_add(x, 3, __ATOMIC_RELAXED); }", "ldadd"),
    ("sve256", "aarch64", [*SVE256, "-DBYTES=32", "-DTILE=8"], TILE_C, ""),
    ("sve256", "aarch64", [*SVE256, "-DBYTES=32", "-DTILE=40"], TILE_C,
     "spill in flash_sve256"),
    ("sve256", "aarch64", ["-march=armv8.2-a+sve+i8mm+dotprod"], """
#include <arm_neon.h>
int32x4_t dot(int32x4_t s, int8x16_t a, int8x16_t b) { return vdotq_s32(s, a, b); }""", "sdot"),
]

LOOP = """libattention_x.a.p/portable_flash.c.o:     file format {format}
0000000000000000 <run>:
   0:\t{word} \t{prologue}
{body}  80:\t{word} \t{branch} 10 <run+0x10>
"""
X86 = {"format": "elf64-x86-64", "word": "48 89 e5", "branch": "jne   "}
ARM = {"format": "elf64-littleaarch64", "word": "910003fd", "branch": "b.ne\t"}

# Machine, prologue, instructions of the loop, and how many of them are spills and reloads.
REFERENCES = [
    (X86, "push   %rbx", ["vmovups %ymm1,(%rsp)"], 1, 0),
    (X86, "push   %rbx", ["vmovups %zmm1,0x40(%rsp){%k1}"], 1, 0),
    (X86, "push   %rbx", ["vmovups 0x40(%rsp),%ymm1"], 0, 1),    # a constant
    (X86, "push   %rbx", ["vmovups 0x40(%rsp),%ymm1", "vmovaps %ymm2,0x40(%rsp)"], 2, 0),
    (X86, "push   %rbx", ["vmovups 0x40(%rsp),%ymm1", "vmovaps %ymm2,0x60(%rsp)"], 1, 1),
    (X86, "push   %rbx", ["addq   $0x1,0x8(%rsp)"], 1, 0),
    (X86, "push   %rbx", ["cmp    %rax,0x8(%rsp)"], 0, 1),
    (X86, "push   %rbx", ["lea    0x40(%rsp),%rdi"], 1, 0),
    (X86, "push   %rbx", ["vmovups %ymm1,-0x40(%rbp)"], 0, 0),   # %rbp is any register
    (X86, "mov    %rsp,%rbp", ["vmovups %ymm1,-0x40(%rbp)"], 1, 0),
    (X86, "mov    %rsp,%rbp", ["vmovups %ymm1,-0x40(%rbp,%rax,4)"], 0, 0),    # an array
    (X86, "mov    %rsp,%rbp", ["vmovups %ymm1,0x40(%rax)"], 0, 0),
    (ARM, "stp\tx19, x20, [x0]", ["str\tq1, [sp, #16]"], 1, 0),
    (ARM, "stp\tx19, x20, [x0]", ["ldr\tq1, [sp, #16]"], 0, 1),
    (ARM, "stp\tx19, x20, [x0]", ["ldr\tq1, [sp, #16]", "str\tq2, [sp, #16]"], 2, 0),
    (ARM, "stp\tx19, x20, [x0]", ["str\tz1, [sp, #1, mul vl]"], 1, 0),
    (ARM, "stp\tx19, x20, [x0]", ["add\tx3, sp, #0x40"], 1, 0),
    (ARM, "stp\tx19, x20, [x0]", ["str\tq1, [x29, #16]"], 0, 0),
    (ARM, "mov\tx29, sp", ["str\tq1, [x29, #16]"], 1, 0),
    (ARM, "mov\tx29, sp", ["str\tq1, [sp, x3]"], 0, 0),
    (ARM, "mov\tx29, sp", ["str\tq1, [x3, #16]"], 0, 0),
]


def build(folder, isa, machine, flags, source):
    """libattention_<isa>.a with this source as portable/flash.c; None without a compiler."""
    compiler = next(filter(shutil.which, COMPILERS[machine]), None)
    if not compiler:
        return None
    thing = os.path.join(folder, "portable_flash.c.o")
    library = os.path.join(folder, f"libattention_{isa}.a")
    subprocess.run([compiler, "-xc", "-", "-c", "-O3", "-ffp-contract=fast", *flags, "-o", thing],
                   input=source, text=True, check=True)
    subprocess.run(["ar", "crs", library, thing], check=True)
    return library


class Planted(unittest.TestCase):
    """Real code, compiled for one ISA and claimed for another, or with too many accumulators."""

    def test_complaints(self):
        built = 0
        for isa, machine, flags, source, complaint in PLANTED:
            with self.subTest(isa=isa, flags=flags), tempfile.TemporaryDirectory() as folder:
                library = build(folder, isa, machine, flags, source)
                if not library:
                    continue
                done = subprocess.run([os.path.join(HERE, "inspect"), "--judge", "flash", library],
                                      text=True, capture_output=True, check=False)
                built += 1
                self.assertEqual(done.stderr, "")
                self.assertEqual(done.returncode, 1 if complaint else 0, done.stdout)
                self.assertIn(complaint, done.stdout)
                self.assertLessEqual(max(map(len, done.stdout.splitlines())), 100)
        self.assertGreater(built, 0)


class BadInput(unittest.TestCase):
    """One line, exit 2: what is missing is not skipped."""

    def test_refusals(self):
        for script, words, hint in (("inspect", [], "LIBRARY"), ("inspect", ["--frob"], "LIBRARY"),
                                    ("inspect", ["/no/lib.a"], "/no/lib.a: No such file"),
                                    ("predict", ["--frob"], "--frob")):
            with self.subTest(script=script, words=words):
                done = subprocess.run([os.path.join(HERE, script), *words], text=True,
                                      capture_output=True, check=False)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                self.assertIn(hint, done.stderr)


class Text(unittest.TestCase):
    """What of the disassembly's text is a hot loop, a spill, a reload."""

    def test_references(self):
        for machine, prologue, references, spills, reloads in REFERENCES:
            with self.subTest(prologue=prologue, references=references):
                fma = ("fmla\tv1.4s, v2.4s, v3.4s" if machine is ARM else
                       "vfmadd231ps %ymm0,%ymm1,%ymm2")
                body = "".join(f"  {16 + 4 * n:x}:\t{machine['word']} \t{text}\n"
                               for n, text in enumerate([fma] * code.HOT + references))
                library = code.read_text("x", LOOP.format(**machine, prologue=prologue, body=body))
                [loop] = code.hot_loops(library)
                tally = code.tally(loop, library.machine)
                self.assertEqual((len(tally.spills), len(tally.reloads)), (spills, reloads))
                self.assertEqual(tally.fma, code.HOT)

    def test_sums_in_an_array(self):
        """An array that is summed into is not; one that is only read or only written is fine."""
        read, write = "vfmadd213ps 0x40(%rsp,%rcx,1),%ymm1,%ymm2", "vmovaps %ymm2,0x40(%rsp,%rcx,1)"
        for references, count in ([read, write], 1), ([read], 0), \
                (["vfmadd213ps (%rdx),%ymm1,%ymm2", write], 0), \
                ([read, "vmovaps %ymm2,0xa0(%rsp,%rcx,1)"], 0), \
                (["vaddps 0x40(%rsp,%rcx,1),%ymm1,%ymm2", write], 0):
            with self.subTest(references=references):
                body = "".join(f"  {16 + n:x}:\t{X86['word']} \t{text}\n"
                               for n, text in enumerate(references))
                text = LOOP.format(**X86, prologue="push   %rbx", body=body)
                library = code.read_text("x", text)
                found = code.sums_in_memory(library.functions[0], library.machine)
                self.assertEqual(len(found), count)

    def test_a_loop_that_does_other_work_is_not_hot(self):
        body = "".join(f"  {16 + n:x}:\t{X86['word']} \t{text}\n" for n, text in enumerate(
            ["vfmadd231ps %ymm0,%ymm1,%ymm2"] * 8 + ["vaddps %ymm0,%ymm1,%ymm2"] * 50))
        text = LOOP.format(**X86, prologue="push   %rbx", body=body)
        self.assertEqual(code.hot_loops(code.read_text("x", text)), [])

    def test_only_the_innermost_loop_counts(self):
        fma = "  {:x}:\tc4 e2 75 b8 d0 \tvfmadd231ps %ymm0,%ymm1,%ymm2\n"
        text = LOOP.format(**X86, prologue="push   %rbx", body="".join(
            [fma.format(0x10 + n) for n in range(4)] +        # outside the inner loop: not counted
            [fma.format(0x20 + n) for n in range(9)] + ["  40:\t75 de\tjne    20 <run+0x20>\n"] +
            [fma.format(0x50 + n) for n in range(4)]))
        [loop] = code.hot_loops(code.read_text("x", text))
        self.assertEqual(code.multiply_adds(loop.body), 9)

    def test_a_loop_is_found_wherever_its_blocks_lie(self):
        """A part behind the loop's last branch belongs to it; a spill there is one in the loop."""
        fma = "  {:x}:\tc4 e2 75 b8 d0 \tvfmadd231ps %ymm0,%ymm1,%ymm2\n"
        text = "".join(["portable_flash.c.o:     file format elf64-x86-64\n",
                        "0000000000000000 <run>:\n",
                        "  0:\teb 0e\tjmp    10 <run+0x10>\n",
                        "  2:\t66 90\txchg   %ax,%ax\n",           # padding, not a way in
                        *(fma.format(0x10 + n) for n in range(8)),
                        "  20:\t74 6e\tje     90 <run+0x90>\n",
                        "  30:\t75 de\tjne    10 <run+0x10>\n",
                        "  40:\tc3\tret\n",
                        "  90:\tc5 fc 11 0c 24\tvmovups %ymm1,(%rsp)\n",
                        "  98:\teb 96\tjmp    30 <run+0x30>\n"])
        library = code.read_text("x", text)
        [loop] = code.hot_loops(library)
        self.assertEqual([len(code.tally(loop, library.machine).spills), loop.body[0].address],
                         [1, 0x10])


if __name__ == "__main__":
    sys.exit(unittest.main())
