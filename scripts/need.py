"""Find the Python modules that a script needs, or say in one line how to get them."""

import importlib.util
import os
import subprocess
import sys

SYSTEM_PYTHON = "/usr/bin/python3"

HAS_MODULES = """
import importlib.util, sys
sys.exit(any(importlib.util.find_spec(name) is None for name in sys.argv[1:]))
"""


def need(packages):
    """Return if every module can be imported; `packages` maps module names to apt packages.

    Otherwise start the script again under the system's Python if that one has the modules, or
    print what to install and exit with status 2.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if not missing:
        return
    if sys.executable != SYSTEM_PYTHON and system_has(packages):
        os.execv(SYSTEM_PYTHON, [SYSTEM_PYTHON, *sys.orig_argv[1:]])
    apt = " ".join(packages[name] for name in missing)
    print(f"{os.path.basename(sys.argv[0])}: needs the Python modules {', '.join(missing)}: "
          f"apt-get install {apt}, or pip install {' '.join(missing)}", file=sys.stderr)
    sys.exit(2)


def system_has(modules):
    """Whether the system's Python can import all `modules`."""
    if not os.access(SYSTEM_PYTHON, os.X_OK):
        return False
    return subprocess.run([SYSTEM_PYTHON, "-c", HAS_MODULES, *modules]).returncode == 0
