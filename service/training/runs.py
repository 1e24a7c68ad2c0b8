"""Training runs on disk. A run is a folder, and its files are the truth: no database knows of it.

    <data>/training/lock                 held by the one trainer at work, gone with its process
    <data>/training/<id>/order.json      what was asked (Order)
                         status.json     how it stands (Status), replaced whole
                         epochs.ndjson   a line per finished epoch (Epoch)
                         dataset.json    the pictures: class, set, hash, name (dataset.py)
                         pixels.npy      the pictures, decoded: uint8 (n, size, size, 3)
                         checkpoint/     weights and optimizer after the last whole epoch, to go on from
                         report.json     what it can do (Report), when it is done
                         *.png           sheets and maps
                         trainer.log     the trainer's own words

The status of a run whose trainer has gone is `failed`, whatever its file says: a killed process writes nothing.
"""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from service.errors import Conflict, NotFound
from service.files import replace_file
from service.training.orders import Order

State = Literal["queued", "gathering", "fitting", "evaluating", "publishing", "done", "failed", "cancelled"]
OVER: frozenset[State] = frozenset({"done", "failed", "cancelled"})
ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")


class Epoch(BaseModel):
    """One pass over the pictures. Accuracies in [0, 1]; losses are categorical cross-entropy in nats."""

    model_config = ConfigDict(frozen=True)

    phase: Literal["head", "fine-tuning"]
    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds: float


class Status(BaseModel):
    """How a run stands. `step` of `steps` are epochs while it is fitting; `eta_s` is None until one was measured."""

    model_config = ConfigDict(frozen=True)

    state: State = "queued"
    step: int = 0
    steps: int = 0
    eta_s: float | None = None
    words: str = ""
    code: str | None = None
    detail: str | None = None
    created: datetime
    started: datetime | None = None
    ended: datetime | None = None
    version: str | None = None
    """NAME:VERSION of what it published."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in OVER


class Run:
    """One run's folder. Blocking; the files are small."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = folder.name

    @property
    def order(self) -> Order:
        """What was asked. Raises NotFound when it cannot be read."""
        try:
            return Order.model_validate_json((self.folder / "order.json").read_bytes())
        except (OSError, ValidationError) as error:
            raise NotFound(f"There is no training run {self.id}.") from error

    def bequest(self) -> dict[str, Any]:
        """What a run that extends this one is asked for, where nobody says otherwise. Raises NotFound."""
        return self.order.model_dump(exclude={"source", "origin", "extends"}) | {"extends": self.id}

    def status(self) -> Status:
        """How it stands; of a run whose trainer has gone, that it failed."""
        status = self._written()
        if status.is_over or status.state == "queued" or self.has_trainer():
            return status
        status = self._written()  # it may have ended between the two looks
        return status if status.is_over else status.model_copy(update={"state": "failed", **INTERRUPTED})

    def write(self, status: Status) -> None:
        """Replace the status: a reader sees the old or the new one. Raises OSError."""
        replace_file(self.folder / "status.json", status.model_dump_json().encode())

    def epochs(self) -> list[Epoch]:
        """Those that are finished. A line that is just being written is left out."""
        try:
            lines = (self.folder / "epochs.ndjson").read_bytes().splitlines()
        except FileNotFoundError:
            return []
        epochs = []
        for line in lines:
            with suppress(ValidationError):
                epochs.append(Epoch.model_validate_json(line))
        return epochs

    def add(self, epoch: Epoch) -> None:
        """Write down a finished epoch."""
        with (self.folder / "epochs.ndjson").open("ab") as file:
            file.write(epoch.model_dump_json().encode() + b"\n")

    def has_trainer(self) -> bool:
        """Whether a process works on it now."""
        try:
            descriptor = os.open(self.folder.parent / "lock", os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.pread(descriptor, 64, 0).decode(errors="replace") == self.id
        else:
            return False
        finally:
            os.close(descriptor)

    def _written(self) -> Status:
        try:
            return Status.model_validate_json((self.folder / "status.json").read_bytes())
        except (OSError, ValidationError) as error:
            raise NotFound(f"There is no training run {self.id}.") from error


INTERRUPTED = {"code": "interrupted", "detail": "Its process ended before it was done. It can be started again."}


class Runs:
    """The runs of a data folder. Blocking."""

    def __init__(self, data_path: Path) -> None:
        self.folder = data_path / "training"

    def create(self, order: Order) -> Run:
        """A run that waits for a trainer. Raises OSError."""
        now = datetime.now(UTC)
        run = Run(self.folder / f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}")
        run.folder.mkdir(mode=0o700, parents=True)
        replace_file(run.folder / "order.json", order.model_dump_json(indent=2).encode())
        run.write(Status(created=now))
        return run

    def get(self, run_id: str) -> Run:
        """Raises NotFound."""
        run = Run(self.folder / run_id)
        if not ID.fullmatch(run_id) or not (run.folder / "status.json").is_file():
            raise NotFound(f"There is no training run {run_id!r}.")
        return run

    def all(self) -> list[Run]:
        """Newest first."""
        with suppress(FileNotFoundError):
            names = sorted((path.name for path in self.folder.iterdir() if ID.fullmatch(path.name)), reverse=True)
            return [Run(self.folder / name) for name in names if (self.folder / name / "status.json").is_file()]
        return []

    def newest_done(self, name: str | None = None) -> Run | None:
        """The newest that is done, of that name if one is given."""
        done = (run for run in self.all() if run.status().state == "done")
        return next((run for run in done if name in (None, run.order.name)), None)

    def remove(self, run: Run) -> None:
        """Delete its folder. Raises Conflict while a trainer works on it."""
        if run.has_trainer():
            raise Conflict("This run is being trained. Cancel it first.")
        shutil.rmtree(run.folder)

    @contextmanager
    def training(self, run: Run) -> Iterator[None]:
        """Be the one trainer. Raises Conflict at once when there is another, naming its run."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                other = os.pread(descriptor, 64, 0).decode(errors="replace") or "another run"
                raise Conflict(f"{other} is being trained; one at a time. Wait for it or cancel it.") from None
            os.pwrite(descriptor, run.id.encode(), 0)
            os.ftruncate(descriptor, len(run.id))
            yield
        finally:
            os.close(descriptor)
