"""Bad input: one line on standard error, exit status 2."""

import argparse
import os
import sys


def fail(message):
    """End with one line on standard error and the status of a usage error."""
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    sys.exit(2)


class Parser(argparse.ArgumentParser):
    """An argument parser that complains in one line."""

    def error(self, message):
        fail(message)
