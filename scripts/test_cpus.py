#!/usr/bin/env python3
"""Does `attest` find out what other x86-64 processors can do, and run there?   test_cpus.py ATTEST

The emulator raises SIGILL for what its processor does not have, so a verified kernel has used
nothing else. Exit 77 (skipped) without qemu-x86_64.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

ATTEST = None
QEMU = "qemu-x86_64"
PROBLEMS = ("h4g2q67k70d13v9c q1k150d64 h2q70k130d16cw31:-1lse q9k33d24hard "
            "b2h6g3q20k45d33v21cw20:3s0.3cap15lenboolbiasalibisinklseqk3")

NO_AVX2, NO_AVX512 = "this CPU lacks AVX2 or FMA", "this CPU lacks AVX-512 F, VL, BW or DQ"
UNSAVED = "the operating system does not save the AVX registers"

# A processor, and why its instruction sets do not run ("" = they do). The least and the most of
# them also run all kernels.
PROCESSORS = [
    ("qemu64,-pni", {"avx2": NO_AVX2, "avx512": NO_AVX512}),    # SSE2 and nothing more
    ("Nehalem", {"avx2": NO_AVX2, "avx512": NO_AVX512}),        # SSE4.2
    ("max,-fma", {"avx2": NO_AVX2, "avx512": NO_AVX512}),
    ("max,-xsave", {"avx2": UNSAVED, "avx512": NO_AVX512}),     # XCR0 cannot be read: not enabled
    ("Haswell", {"avx2": "", "avx512": NO_AVX512}),
]

# A processor, the flags of a program that it cannot run, and the program.
CONTROLS = [
    ("qemu64,-pni", ["-msse3"], "_mm_hadd_ps(x, x)"),
    ("qemu64,-pni", ["-msse4.1"], "_mm_floor_ps(x)"),
    ("Nehalem", ["-mavx"], "_mm_permute_ps(x, 3)"),
    ("Nehalem", ["-mfma"], "_mm_fmadd_ps(x, x, x)"),
    ("Haswell", ["-mavx512f", "-mavx512vl"], "_mm_scalef_ps(x, x)"),
]
CONTROL_C = """#include <immintrin.h>
volatile __m128 value;
int main(void) {{ __m128 x = value; value = {expression}; return 0; }}
"""


def emulate(processor, *words):
    """Run a program on this processor; returns the finished process, without qemu's warnings."""
    done = subprocess.run([QEMU, "-cpu", processor, *words], capture_output=True, text=True,
                          timeout=300, check=False)
    done.stderr = "".join(line for line in done.stderr.splitlines(keepends=True)
                          if not line.startswith(f"{QEMU}: warning:"))
    return done


class Processors(unittest.TestCase):
    """Older processors than this one, emulated."""

    def test_detection(self):
        for processor, expected in PROCESSORS:
            with self.subTest(processor=processor):
                done = emulate(processor, ATTEST, "list", "--json", "-")
                self.assertEqual(done.returncode, 0, done.stderr)
                for kernel in json.loads(done.stdout)["kernels"]:
                    self.assertEqual(kernel["why"], expected.get(kernel["isa"], ""))
                done = emulate(processor, ATTEST, "verify", "--require", "avx512")
                self.assertEqual(done.returncode, 1)
                self.assertEqual(done.stderr, f"attest: --require avx512: {expected['avx512']}\n")

    def test_kernels_run(self):
        for processor, expected in PROCESSORS[0], PROCESSORS[-1]:
            with self.subTest(processor=processor):
                # Left: qemu 7.2 faults on the lanes that a masked load must not touch.
                done = emulate(processor, ATTEST, "verify", "--problems", PROBLEMS, "--inputs",
                               "gauss", "--place", "left", "--json", "-")
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                ran = {result["kernel"].rpartition("_")[2]
                       for result in json.loads(done.stdout)["results"]
                       if result["status"] == "pass"}
                self.assertEqual(ran, {"scalar", "auto"} | {isa for isa, why in expected.items()
                                                            if not why})

    @unittest.skipUnless(shutil.which("gcc"), "needs gcc to make the programs that must fail")
    def test_the_emulator_refuses_what_a_processor_lacks(self):
        for processor, flags, expression in CONTROLS:
            with self.subTest(processor=processor, flags=flags), \
                    tempfile.TemporaryDirectory() as folder:
                program = os.path.join(folder, "control")
                subprocess.run(["gcc", "-xc", "-", "-O1", *flags, "-o", program], text=True,
                               input=CONTROL_C.format(expression=expression), check=True)
                self.assertEqual(emulate(processor, program).returncode, -signal.SIGILL)


if __name__ == "__main__":
    if not shutil.which(QEMU):
        print(f"SKIPPED: no {QEMU} here (Debian: qemu-user)")
        sys.exit(77)
    ATTEST = os.path.abspath(sys.argv.pop(1))
    unittest.main()
