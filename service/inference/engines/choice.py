"""Which engine computes when nobody said: OpenVINO on a CPU, TensorFlow when that sees a GPU."""

import importlib.util
import subprocess
import sys
from functools import cache
from pathlib import Path

from service.inference.engines.prepared import Runtime

LOOK_S = 60  # importing TensorFlow takes three seconds; with a GPU's drivers up to thirty


def runtime(asked: str) -> Runtime:
    """`asked` is auto, tensorflow or openvino."""
    if asked == "tensorflow" or (asked == "auto" and (not _installed("openvino") or sees_gpu())):
        return "tensorflow"
    return "openvino"


@cache
def sees_gpu() -> bool:
    """Whether TensorFlow sees a GPU. It is only asked, in a process of its own, where there may be one."""
    if not any(Path("/dev").glob("nvidia[0-9]*")) and not Path("/dev/kfd").exists():
        return False
    question = "import sys, tensorflow as tf; sys.exit(not tf.config.list_physical_devices('GPU'))"
    try:
        command = [sys.executable, "-c", question]
        return subprocess.run(command, capture_output=True, timeout=LOOK_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
