#!/usr/bin/env python3
"""Does every printed replay line fail again?   test_replay.py ATTEST [COUNT, default 12]

The quick suite runs through all mutants; the first failure of COUNT of them, spread over the
table, is started again from its line, in a process of its own."""

import json
import subprocess
import sys


def run(attest, words):
    """The finished process of one attest command."""
    return subprocess.run([attest, *words], capture_output=True, text=True, check=False)


def main():
    """Exit 1 and the lines that passed, unless all fail again."""
    attest, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 12
    done = run(attest, ["verify", "--mutants", "--brief", "--json", "-"])
    lines = json.loads(done.stdout)["mutants"]["replays"]
    if len(lines) < count:
        sys.exit(f"test_replay: only {len(lines)} failures to replay")
    chosen = [lines[x * len(lines) // count] for x in range(count)]
    passed = [line for line in chosen if run(attest, line.split()).returncode != 1]
    print("\n".join(f"passes when it is replayed: attest {line}" for line in passed))
    print(f"{count - len(passed)} of {count} planted failures replayed")
    sys.exit(1 if passed else 0)


if __name__ == "__main__":
    main()
