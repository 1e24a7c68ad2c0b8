"""python trainer_service.py RUN_FOLDER: trains the run, to be killed again and again.

For each line on stdin, a JSON Life, a fresh process trains the run; its answer is the signal that ended it, negative,
or its exit code. Processes are forked from one that has imported Keras and computed nothing.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path

import keras  # noqa: F401 - imported here once, not in every life

from service.training import phases, trainer  # noqa: F401


def kill_at(rename: str, nth: int) -> None:
    """Kill this process with its nth renaming of a file to `rename`, before that is done. `status.json:fitting` is the
    one that says so."""
    name, _, state = rename.partition(":")
    left = nth

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event != "os.rename" or not Path(str(arguments[1])).match(name):
            return
        if state and json.loads(Path(str(arguments[0])).read_bytes())["state"] != state:
            return
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def live(run_folder: str, life: dict[str, object]) -> int:
    """One life: killed at a step, or with files that cannot grow over `bytes`, or to its end."""
    if "rename" in life:
        kill_at(str(life["rename"]), int(str(life["nth"])))
    if "bytes" in life:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(str(life["bytes"])), resource.RLIM_INFINITY))
    return trainer.main([run_folder])


def main() -> None:
    trainer.stand_back = lambda: None  # the tests would never end beside others
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            os._exit(live(sys.argv[1], json.loads(line)))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
