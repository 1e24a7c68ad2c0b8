"""python mutants.py: for each line on stdin, a JSON list of pytest's arguments, it prints pytest's exit code.

The first argument is the folder to run it in. Each runs in a process forked from one that has imported pytest and what
the tests need, but nothing of the service: to import them takes longer than most mutants live.
"""

import importlib
import json
import os
import resource
import signal
import sys

import numpy  # noqa: F401 - imported here once, not by every mutant
import pytest
import pytest_asyncio.plugin  # noqa: F401
from _pytest.config import default_plugins

LONGEST_CPU_S = 20
LONGEST_S = 120
"""On a machine that is busy with other things; a test that hangs without computing has a limit of its own."""


def run(folder: str, *arguments: str) -> int:
    """Does not return to what was there before: it is for a process of its own."""
    signal.alarm(LONGEST_S)
    resource.setrlimit(resource.RLIMIT_CPU, (LONGEST_CPU_S, LONGEST_CPU_S + 1))
    os.chdir(folder)
    sys.path.insert(0, folder)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    return int(pytest.main(list(arguments)))


def main() -> None:
    for name in default_plugins:
        importlib.import_module(f"_pytest.{name}")
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            os._exit(run(*json.loads(line)))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
