#!/usr/bin/env python3
"""Tests of scripts/ab in a small repository whose revisions build a made-up attest in no time."""

import os
import signal
import subprocess
import tempfile
import time
import unittest

AB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ab")
BUILD = """#!/bin/sh
cd "$(dirname "$0")/.." && mkdir -p build && cp attest.sh build/attest
"""
# What it was asked and what both programs say; then the exit status that AB_EXIT names.
ATTEST = """#!/bin/sh
case "$1 $2" in
"bench --help") echo "$HELP --json FILE";;
"ab --help") ;;
ab*) shift; "$1" name; "$2" name; shift 2; echo "options:" "$@"
     [ -z "$AB_SLEEP" ] || exec sleep "$AB_SLEEP"; exit ${AB_EXIT:-0};;
name*) echo NAME "$(pwd)";;
esac
"""
REVISIONS = {  # tag: files
    "one": {"scripts/build": BUILD, "attest.sh": ATTEST.replace("NAME", "one")},
    "two": {"attest.sh": ATTEST.replace("NAME", "two")},
    "broken": {"scripts/build": "#!/bin/sh\necho 'error: no such thing' >&2\nexit 2\n"},
    "silent": {"scripts/build": BUILD, "attest.sh": ATTEST.replace("--json", "")},
    "no-ab": {"attest.sh": ATTEST.replace('"ab --help") ;;', '"ab --help") exit 2;;')},
}


class Ab(unittest.TestCase):
    """Two revisions in, the exit status of HEAD's `attest ab` out, and nothing left behind."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.repository, self.temporary = (os.path.join(folder.name, name) for name in "rt")
        os.mkdir(self.temporary)
        self.git("init", "--quiet", self.repository, cwd=folder.name)
        for tag, files in REVISIONS.items():
            for name, content in files.items():
                path = os.path.join(self.repository, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(content)
                os.chmod(path, 0o755)
            self.git("add", "--all")
            self.git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", tag)
            self.git("tag", tag)

    def tearDown(self):
        self.assertEqual(os.listdir(self.temporary), [])
        self.assertEqual(len(self.git("worktree", "list").splitlines()), 1)

    def git(self, *words, cwd=None):
        """What git prints."""
        return subprocess.run(["git", *words], cwd=cwd or self.repository, check=True, text=True,
                              capture_output=True, env=self.environment()).stdout

    def environment(self):
        """This one, with temporary files where they can be counted."""
        return {**os.environ, "TMPDIR": self.temporary}

    def start(self, *words, **variables):
        """The program, started."""
        return subprocess.Popen(
            [AB, *words], cwd=self.repository, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True,
            env={**self.environment(), **variables})

    def ab(self, *words, **variables):
        """(exit status, standard output, standard error)."""
        process = self.start(*words, **variables)
        output, errors = process.communicate(timeout=60)
        return process.returncode, output, errors

    def test_both_are_built_and_launched(self):
        status, output, _ = self.ab("one", "two", "--gate", "3", "--problems", "q3d4 q5d4")
        self.assertEqual(status, 0)
        self.assertEqual([line.split()[0] for line in output.splitlines()[:2]], ["one", "two"])
        self.assertIn("options: --gate 3 --problems q3d4 q5d4\n", output)

    def test_exit_status_is_that_of_attest(self):
        for wanted in (1, 125):
            self.assertEqual(self.ab("one", "two", AB_EXIT=str(wanted))[0], wanted)

    def test_bad_revisions(self):
        for words, wanted, hint in (
                (["one"], 2, "two revisions"),
                (["one", "nope"], 2, "nope is not a revision"),
                (["--gate", "3"], 2, "two revisions"),
                (["one", "broken"], 125, "broken does not build"),
                (["broken", "two"], 2, "broken does not build"),
                (["silent", "two"], 2, "silent has no attest bench --json"),
                (["one", "no-ab"], 125, "no-ab has no attest ab")):
            with self.subTest(words=words):
                status, output, errors = self.ab(*words)
                self.assertEqual((status, output), (wanted, ""))
                self.assertIn(hint, errors.splitlines()[-1])

    def test_interrupt_leaves_nothing(self):
        process = self.start("one", "two", AB_SLEEP="50")
        for line in process.stdout:
            if line.startswith("options:"):
                break
        os.killpg(process.pid, signal.SIGINT)
        begin = time.monotonic()
        process.communicate(timeout=40)
        self.assertEqual(process.returncode, 130)
        self.assertLess(time.monotonic() - begin, 30)

    def test_bisect_finds_the_culprit(self):
        """With a copy of the script, which the help's example uses."""
        copy = os.path.join(os.path.dirname(self.temporary), "ab-copy")
        slow = os.path.join(self.repository, "attest.sh")
        for step in range(4):
            with open(slow, "w", encoding="utf-8") as file:
                file.write(ATTEST.replace("NAME", f"step {step}")
                           .replace("${AB_EXIT:-0}", str(int(step >= 2))))
            self.git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--all",
                     "-m", f"step {step}")
        with open(AB, encoding="utf-8") as source, open(copy, "w", encoding="utf-8") as file:
            file.write(source.read())
        os.chmod(copy, 0o755)
        self.git("bisect", "start", "HEAD", "two")
        log = self.git("bisect", "run", copy, "one", "HEAD")
        self.assertRegex(log, r"is the first bad commit[^$]*step 2")


if __name__ == "__main__":
    unittest.main()
