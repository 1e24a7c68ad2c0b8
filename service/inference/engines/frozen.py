"""Frozen graphs on disk: made once by a child process, kept under the hash of what they were made from.

One .npz file per model. It is a zip, so every part has a checksum, and a damaged file is made again.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import pickle
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import StartError
from service.inference.engines.engine import Pixels, Scores
from service.inference.predictions import InputSpec

FORMAT = 1
"""Part of every key: raise it when freezing.py makes something else from the same model."""
KEPT = 4
"""Frozen graphs kept in the cache (ResNet50 takes 102 MB); the longest unused go."""
LONGEST_S = 600
"""Freezing takes 10 s on two cores; a child that takes longer than this hangs."""
REFUSED = 3
"""The child's exit code when it says on standard output why the model cannot be used."""


@dataclass(frozen=True)
class FrozenGraph:
    """What a session needs, and what plain Keras answered to the probe: float32 (2, classes)."""

    graph: NDArray[np.uint8]
    options: bytes
    input: str
    output: str
    probe_scores: Scores

    @classmethod
    def read(cls, path: Path) -> "FrozenGraph":
        """Raises OSError when it cannot be read, ValueError when it is damaged."""
        try:
            with np.load(path, allow_pickle=False) as parts:
                return cls(
                    graph=parts["graph"],
                    options=parts["options"].tobytes(),
                    input=str(parts["input"]),
                    output=str(parts["output"]),
                    probe_scores=parts["probe_scores"],
                )
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
            raise ValueError(f"{path}: {error}") from error

    def write(self, path: Path) -> None:
        """Write and sync; `path` must end in .npz."""
        with path.open("wb") as file:
            np.savez(
                file,
                graph=self.graph,
                options=np.frombuffer(self.options, np.uint8),
                input=np.array(self.input),
                output=np.array(self.output),
                probe_scores=self.probe_scores,
            )
            file.flush()
            os.fsync(file.fileno())


@dataclass(frozen=True)
class Freezing:
    """What the child is asked to do. `build` travels by name, see pickle."""

    build: Callable[[], Any]
    weights: Path | None
    input: InputSpec
    result: Path


def probe(input_spec: InputSpec) -> Pixels:
    """The fixed question of which both sides must know the same answer: float32 (2, size, size, 3)."""
    shape = (2, input_spec.size, input_spec.size, 3)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def freeze_once(build: Callable[[], Any], weights: Path | None, input_spec: InputSpec, cache: Path) -> FrozenGraph:
    """The frozen graph from the cache, else made now by a child process. Raises StartError with the reason."""
    path = cache / f"{_key(build, weights, input_spec)}.npz"
    with contextlib.suppress(OSError, ValueError):
        frozen = FrozenGraph.read(path)
        with contextlib.suppress(OSError):  # a cache that is only read serves too
            path.touch()
        return frozen
    made = cache / f"making-{os.getpid()}.npz"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _run_child(Freezing(build, weights, input_spec, made))
        made.replace(path)
        _forget_the_oldest(cache)
        return FrozenGraph.read(path)
    except (OSError, ValueError) as error:
        raise StartError(f"The frozen model cannot be kept in {cache}: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            made.unlink(missing_ok=True)


def _key(build: Callable[[], Any], weights: Path | None, input_spec: InputSpec) -> str:
    """Everything the result depends on: the model's code by name, its weights by content, the makers' versions."""
    versions = [importlib.metadata.version(package) for package in ("tensorflow", "keras")]
    digest = hashlib.sha256(repr((FORMAT, versions, input_spec, weights is None)).encode() + _by_name(build))
    if weights is not None:
        try:
            with weights.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise StartError(f"The weights file {weights} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()[:32]


def _by_name(build: Callable[[], Any]) -> bytes:
    try:
        return pickle.dumps(build)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(f"build must be a module's own function, not {build!r}") from error


def _run_child(freezing: Freezing) -> None:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),  # import what we can import
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, "-P", "-m", "service.inference.engines.freezing"]
    try:
        child = subprocess.run(
            command, input=pickle.dumps(freezing), env=environment, capture_output=True, timeout=LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise StartError(f"Preparing the model took longer than {LONGEST_S} s and was given up.") from error
    if child.returncode == REFUSED:
        raise StartError(child.stdout.decode(errors="replace").strip())
    if child.returncode:
        last_words = child.stderr.decode(errors="replace").strip().splitlines()[-5:]
        how = f"was killed by signal {-child.returncode}" if child.returncode < 0 else "failed"
        raise StartError(f"The process that prepares the model {how}: {' | '.join(last_words)}")


def _forget_the_oldest(cache: Path) -> None:
    by_use = sorted(cache.glob("[0-9a-f]*.npz"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in by_use[KEPT:]:
        path.unlink(missing_ok=True)
