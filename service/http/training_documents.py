"""The shapes of what is said about training: datasets, runs, and what one asks for."""

import json
from contextlib import suppress
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator
from pydantic.fields import FieldInfo

from service.errors import NotFound
from service.http.documents import example
from service.training.datasets import About
from service.training.feedback import read_told
from service.training.orders import Order
from service.training.runs import Epoch, Run, Runs, State

MAX_BODY_BYTES = 8192
WEIGHTS = "imagenet (as for serving), random, or NAME:VERSION of a model here; cnn has random ones."
A_STAMP = "20261121-085702-5f0a1b"
A_DATASET: dict[str, Any] = {
    "id": A_STAMP,
    "name": "pets.zip",
    "created": "2026-11-21T08:57:02Z",
    "bytes": 3_748_439,
    "classes": {"bird": 50, "dog": 50, "vehicle": 50},
    "unlabelled": 0,
}
AN_EPOCH: dict[str, Any] = {
    "phase": "head",
    "epoch": 1,
    "loss": 0.61,
    "accuracy": 0.78,
    "val_loss": 0.31,
    "val_accuracy": 0.93,
    "learning_rate": 0.001,
    "seconds": 0.4,
}
A_RUN: dict[str, Any] = {
    "id": A_STAMP,
    "name": "pets",
    "state": "fitting",
    "step": 3,
    "steps": 25,
    "eta_s": 31.5,
    "words": "epoch 3",
    "code": None,
    "detail": None,
    "created": "2026-11-21T08:57:02Z",
    "started": "2026-11-21T08:57:08Z",
    "ended": None,
    "version": None,
}
WITHOUT = {"source", "origin", "compare_with"}
"""Of an order: what the service fills in itself."""


class DatasetDocument(About):
    """An uploaded zip of class folders. `classes`: pictures by class as the folders say; none was decoded yet."""

    model_config = ConfigDict(frozen=True) | example(A_DATASET)


class RunDocument(BaseModel):
    """A training run. `step` of `steps`, with about `eta_s` seconds left, are of the state it is in; `version` is what
    it published, NAME:VERSION; `code` and `detail` say why it failed."""

    model_config = example(A_RUN)

    id: str
    name: str
    state: State
    step: int
    steps: int
    eta_s: float | None
    words: str
    code: str | None
    detail: str | None
    created: datetime
    started: datetime | None
    ended: datetime | None
    version: str | None


class WholeRunDocument(RunDocument):
    """A run with what was asked for and its epochs so far."""

    model_config = example(
        A_RUN | {"order": {"name": "pets", "source": "/data/pets.zip"}, "epochs": [AN_EPOCH], "feedback": None}
    )

    order: Order
    epochs: list[Epoch]
    feedback: str | None = Field(description="From feedback: what was taken of it, and which labels were left out.")


class EndRunQuery(BaseModel):
    """How far it goes."""

    model_config = ConfigDict(extra="forbid")

    remove: bool = Field(False, description="Remove the run with its pictures. What it published stays.")


class Wanted(BaseModel):
    """What a NewRun is about; the fields of an order come with it, see `asked`."""

    model_config = ConfigDict(extra="forbid", frozen=True) | example({"name": "pets", "dataset": A_STAMP})

    dataset: str | None = Field(None, max_length=64, description="An uploaded dataset, by its id.")
    from_feedback: bool = Field(False, description="Learn from what people said, with the pictures of `extends`.")
    since: date | None = Field(None, description="With from_feedback: what was said from that day on.")

    @model_validator(mode="after")
    def _from_somewhere(self) -> "Wanted":
        if (self.dataset is None) != self.from_feedback:
            raise ValueError("give either dataset or from_feedback")
        if self.since and not self.from_feedback:
            raise ValueError("since goes with from_feedback")
        return self

    @property
    def asked(self) -> dict[str, Any]:
        """The fields of the order that were given."""
        return self.model_dump(exclude_none=True, exclude={"dataset", "from_feedback", "since"})


def _optional() -> dict[str, Any]:
    fields = {name: field for name, field in Order.model_fields.items() if name not in WITHOUT}
    return {
        name: (
            Annotated[(field.annotation, *field.metadata, Field())] | None,
            Field(None, description=_described(name, field)),
        )
        for name, field in fields.items()
    }


def _described(name: str, field: FieldInfo) -> str:
    words = WEIGHTS if name == "weights" else f"{field.description}"
    usual = field.get_default()
    return words if usual is None or field.is_required() else f"{words} Usually {json.dumps(usual)}."


NewRun = create_model("NewRun", __base__=Wanted, __doc__="What to learn from, and how.", **_optional())
"""Every field of an order besides: what is left out is as in the run that is extended, or as usual."""


def run_document(run: Run) -> dict[str, Any]:
    """As RunDocument. Blocking. Raises NotFound."""
    status = run.status().model_dump()
    return {"id": run.id, "name": run.order.name} | status


def run_documents(runs: Runs) -> list[dict[str, Any]]:
    """As RunDocument, newest first; without those that cannot be read any more. Blocking."""
    found = []
    for run in runs.all():
        with suppress(NotFound):
            found.append(run_document(run))
    return found


def whole_run_document(run: Run) -> dict[str, Any]:
    """As WholeRunDocument. Blocking. Raises NotFound."""
    return run_document(run) | {
        "order": run.order.model_dump(),
        "epochs": [epoch.model_dump() for epoch in run.epochs()],
        "feedback": read_told(run.folder),
    }
