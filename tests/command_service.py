"""python command_service.py: the `glimt` command, again and again.

For each line on stdin, a JSON list of its arguments, its environment and the files for what it says on standard output
and standard error, a fresh process runs it; the answer is its exit code. Processes are forked from one that has only
imported what a start imports: that takes longer than what most of them do.
"""

import json
import os
import signal
import sys

import service.app  # noqa: F401 - imported here once, not by every command
from service.cli import app

LONGEST_S = 120


def become(arguments: list[str], environment: dict[str, str], out: str, errors: str) -> None:
    signal.alarm(LONGEST_S)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, name in enumerate((os.devnull, out, errors)):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
    sys.argv = ["glimt", *arguments]


def main() -> None:
    for line in sys.stdin:
        if os.fork() == 0:
            become(*json.loads(line))
            app()
            return
        print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)


if __name__ == "__main__":
    main()
