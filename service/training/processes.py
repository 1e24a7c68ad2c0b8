"""How the children of this room are started: what imports Keras lives in a process of its own."""

import os
import sys
from pathlib import Path


def trainer(run_folder: Path) -> list[str]:
    """The command that trains a run. It ends when its standard input does."""
    return [*_python("service.training.trainer"), str(run_folder), "--with-parent"]


def explaining() -> list[str]:
    """The command that draws what a model looked at, see explaining.py."""
    return _python("service.training.explaining")


def environment() -> dict[str, str]:
    """Ours, with which a child can import what we can."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def _python(module: str) -> list[str]:
    return [sys.executable, "-P", "-m", module]
