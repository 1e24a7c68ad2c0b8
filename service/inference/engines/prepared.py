"""Models prepared for an engine: made once by a child process, kept on disk under the hash of what they were made from.

A prepared model is a folder: the engine's own files, `probe.npy` (what plain Keras answered to the probe) and
`sums.json` with the SHA-256 of each. A damaged one is made again.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from service.errors import StartError
from service.files import sha256, sync
from service.inference.engines.engine import Pixels, Scores
from service.inference.predictions import InputSpec

Runtime = Literal["tensorflow", "openvino"]

FORMAT = 5
"""Part of every key: raise it when the child makes something else from the same model."""
KEPT = 6
"""Prepared models kept in the cache (ResNet50 takes 102 MB); the longest unused go."""
LONGEST_S = 600
"""Preparing takes 10 s on two cores; a child that takes longer than this hangs."""
REFUSED = 3
"""The child's exit code when it says on standard output why the model cannot be used."""
MAKING = "making-"
PROBE, SUMS = "probe.npy", "sums.json"


@dataclass(frozen=True)
class Preparation:
    """What the child is asked to do. `build` travels by name, see pickle. `result` is an empty folder."""

    runtime: Runtime
    build: Callable[[], Any]
    weights: Path | None
    input: InputSpec
    result: Path


def probe(input_spec: InputSpec) -> Pixels:
    """The fixed question of which both sides must know the same answer: uint8 (2, size, size, 3)."""
    shape = (2, input_spec.size, input_spec.size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def probe_scores(folder: Path) -> Scores:
    """What plain Keras answered to the probe when the model was prepared: float32 (2, classes)."""
    scores: Scores = np.load(folder / PROBE, allow_pickle=False)
    return scores


def prepare_once(
    runtime: Runtime, build: Callable[[], Any], weights: Path | None, input_spec: InputSpec, cache: Path
) -> Path:
    """The folder of the prepared model, from the cache, else made now. Raises StartError with the reason."""
    folder = cache / f"{runtime}-{_key(runtime, build, weights, input_spec)}"
    if is_whole(folder):
        with contextlib.suppress(OSError):  # a cache that is only read serves too
            os.utime(folder)
        return folder
    made = None
    try:
        cache.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=MAKING, dir=cache))
        _run_child(Preparation(runtime, build, weights, input_spec, made))
        seal(made)
        _put(made, folder)
    except OSError as error:
        raise StartError(f"The prepared model cannot be kept in {cache}: {error}") from error
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
    _forget_the_oldest(cache)
    return folder


def _put(made: Path, folder: Path) -> None:
    """Rename it, unless another process that made the same was faster."""
    if is_whole(folder):
        return
    shutil.rmtree(folder, ignore_errors=True)
    try:
        made.replace(folder)
    except OSError:
        if not is_whole(folder):
            raise


def seal(folder: Path) -> None:
    """Write the sums of all files, and sync everything. OSError when it cannot."""
    files = sorted(path for path in folder.iterdir() if path.name != SUMS)
    (folder / SUMS).write_text(json.dumps({path.name: sha256(path) for path in files}, indent=2))
    for path in (*files, folder / SUMS, folder):
        sync(path)


def is_whole(folder: Path) -> bool:
    """Whether the folder holds a prepared model and every file is what it was when it was made."""
    try:
        sums = json.loads((folder / SUMS).read_bytes())
        return PROBE in sums and all(sha256(folder / name) == expected for name, expected in sums.items())
    except (OSError, ValueError, TypeError, AttributeError):
        return False


def _key(runtime: Runtime, build: Callable[[], Any], weights: Path | None, input_spec: InputSpec) -> str:
    """Everything the result depends on: the model's code by name, its weights by content, the makers' versions."""
    versions = [version_of(package) for package in {"tensorflow", "keras", runtime}]
    digest = hashlib.sha256(repr((FORMAT, sorted(versions), input_spec, weights is None)).encode() + _by_name(build))
    if weights is not None:
        try:
            digest.update(sha256(weights).encode())
        except OSError as error:
            raise StartError(f"The weights file {weights} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()[:32]


def version_of(package: str) -> str:
    """Its version, or that it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _by_name(build: Callable[[], Any]) -> bytes:
    try:
        return pickle.dumps(build)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(f"build must be a module's own function, not {build!r}") from error


def _run_child(preparation: Preparation) -> None:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),  # import what we can import
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CI": "true",  # OpenVINO's converter sends no telemetry where this is set
    }
    command = [sys.executable, "-P", "-m", "service.inference.engines.preparing"]
    request = pickle.dumps(preparation)
    try:
        child = subprocess.run(
            command, input=request, env=environment, capture_output=True, timeout=LONGEST_S, check=False
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
    by_use = sorted(cache.glob("*-" + "[0-9a-f]" * 32), key=_age_s)
    abandoned = [path for path in cache.glob(f"{MAKING}*") if _age_s(path) > 2 * LONGEST_S]
    for path in (*by_use[KEPT:], *abandoned):
        shutil.rmtree(path, ignore_errors=True)
    for path in cache.glob("*.npz"):  # of versions before 0.2
        path.unlink(missing_ok=True)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:  # gone meanwhile
        return 0.0
