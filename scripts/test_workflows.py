#!/usr/bin/env python3
"""Do the workflows ask for things that exist?   test_workflows.py ATTEST

By actionlint where it is installed; here: are jobs complete, permissions few, shell lines correct,
and does this tree have every script, subcommand and option that they name?
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import unittest

from need import need

need({"yaml": "python3-yaml"})

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORKFLOWS = glob.glob(f"{ROOT}/.github/workflows/*.yml")
RUNNERS = {"ubuntu-24.04", "ubuntu-24.04-arm"}    # what GitHub calls Ubuntu on x86-64 and Arm
MAY_WRITE = {"comment": {"pull-requests": "write"}}
OUR_COMMAND = re.compile(r"\b((?:build/attest \w+)|scripts/[\w.]+)((?:[^|;&<>\n\\]|\\\n)*)")
ATTEST = None


def jobs():
    """(name, job, its steps) of all workflows."""
    for path in WORKFLOWS:
        with open(path, encoding="utf-8") as file:
            document = yaml.safe_load(file)
        for name, job in document["jobs"].items():
            yield name, job, job["steps"]


def shell_lines():
    """The text of every `run`."""
    return [step["run"] for _, _, steps in jobs() for step in steps if "run" in step]


class Workflows(unittest.TestCase):
    """Every workflow of the tree."""

    def test_there_are_some(self):
        self.assertTrue(WORKFLOWS and shell_lines())

    @unittest.skipUnless(shutil.which("actionlint"), "actionlint is not installed")
    def test_actionlint(self):
        done = subprocess.run(["actionlint", *WORKFLOWS], capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_jobs_are_complete(self):
        names = {name for name, _, _ in jobs()}
        for name, job, steps in jobs():
            with self.subTest(job=name):
                runners = job.get("strategy", {}).get("matrix", {}).get("runner")
                self.assertLessEqual(set(runners or [job["runs-on"]]), RUNNERS)
                self.assertIn("timeout-minutes", job)
                self.assertIn(job.get("needs", name), names)
                for step in steps:
                    self.assertEqual(("run" in step) + ("uses" in step), 1, step)
                    self.assertRegex(step.get("uses", "actions/x@v4"), r"^actions/[\w-]+@v\d+$")

    def test_permissions_are_few(self):
        for path in WORKFLOWS:
            with open(path, encoding="utf-8") as file:
                self.assertEqual(yaml.safe_load(file)["permissions"], {"contents": "read"})
        for name, job, steps in jobs():
            self.assertEqual(job.get("permissions"), MAY_WRITE.get(name))
            if name in MAY_WRITE:    # runs nothing from the pull request
                self.assertFalse([step for step in steps if "checkout" in step.get("uses", "")])
                self.assertFalse(OUR_COMMAND.findall("".join(s.get("run", "") for s in steps)))

    def test_artifacts_that_are_fetched_were_stored(self):
        stored = [step["with"]["name"] for _, _, steps in jobs() for step in steps
                  if "upload-artifact" in step.get("uses", "")]
        fetched = [step["with"]["pattern"] for _, _, steps in jobs() for step in steps
                   if "download-artifact" in step.get("uses", "")]
        self.assertTrue(fetched)
        for pattern in fetched:
            self.assertTrue([n for n in stored if n.startswith(pattern.removesuffix("*"))], pattern)

    def test_shell_lines_are_shell(self):
        for text in shell_lines():
            with self.subTest(text=text):
                self.assertNotIn("${{", text)    # a pull request's title must not become shell
                done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True,
                                      check=False)
                self.assertEqual(done.stderr, "")
                if shutil.which("shellcheck"):
                    done = subprocess.run(["shellcheck", "-s", "bash", "-"], input=text, text=True,
                                          capture_output=True, check=False)
                    self.assertEqual(done.stdout, "")

    def test_what_they_name_is_here(self):
        found = [match for text in shell_lines() for match in OUR_COMMAND.findall(text)]
        self.assertGreater(len(found), 4)
        for command, words in found:
            with self.subTest(command=command):
                if command.startswith("scripts/"):
                    self.assertTrue(os.access(f"{ROOT}/{command}", os.X_OK))
                wanted = re.findall(r"--[\w-]+", words)
                if wanted:
                    self.assertLessEqual(set(wanted), self.options_of(command))

    def options_of(self, command):
        """The options in the help of one of our commands."""
        words = command.split()
        words[0] = ATTEST if words[0] == "build/attest" else f"{ROOT}/{words[0]}"
        if command == "scripts/ab":    # passes them on
            words = [ATTEST, "ab"]
        done = subprocess.run([*words, "--help"], capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return set(re.findall(r"--[\w-]+", done.stdout))


if __name__ == "__main__":
    ATTEST = os.path.abspath(sys.argv.pop(1))
    unittest.main()
