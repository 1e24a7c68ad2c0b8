"""The shapes of what is said about model versions."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.http.documents import A_MODEL, example
from service.inference.predictions import ModelInfo
from service.inference.shadow import Shadow, ShadowResult
from service.models.names import REF
from service.models.registry import Listed
from service.models.versions import Precision

A_VERSION: dict[str, Any] = {
    "ref": "pets:3b1f0c9d2a77",
    "name": "pets",
    "version": "3b1f0c9d2a77",
    "architecture": "mobilenet_v2",
    "precision": "float32",
    "classes": 3,
    "created": "2026-11-21T09:00:00Z",
    "metrics": {"accuracy": 0.967},
    "run": "20261121-085702-5f0a1b",
    "beats_served": True,
    "bytes": 10_485_760,
    "damage": None,
    "served": False,
    "previous": False,
}
A_TRIAL: dict[str, Any] = {
    "model": A_MODEL,
    "share": 0.1,
    "compared": 120,
    "differed": 9,
    "passed_over": 31,
    "failed": 0,
}
A_DIFFERENCE: dict[str, Any] = {
    "image_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "served_label": "cat",
    "served_score": 0.61,
    "candidate_label": "dog",
    "candidate_score": 0.74,
}
Ref = Field(
    pattern=f"^{REF}$",
    description="NAME:VERSION, or NAME for the one of them that is activated, else newest.",
    examples=[A_VERSION["ref"]],
)


class VersionDocument(BaseModel):
    """A version in the registry. `damage` says what is wrong with its manifest; then most of the rest is null.

    `beats_served`: whether it was better than what was served when it was trained, null where nobody compared.
    """

    model_config = example(A_VERSION)

    ref: str
    name: str
    version: str
    architecture: str | None
    precision: Precision | None
    classes: int | None
    created: datetime | None
    metrics: dict[str, float]
    run: str | None
    beats_served: bool | None
    bytes: int
    damage: str | None
    served: bool
    previous: bool


class TrialDocument(BaseModel):
    """A candidate that is asked too, for `share` of the pictures, and only compared. Pictures that come while there is
    other work are passed over."""

    model_config = example(A_TRIAL)

    model: ModelInfo | None
    share: float
    compared: int
    differed: int
    passed_over: int
    failed: int


class ModelsDocument(BaseModel):
    """What answers, what could, and what is tried out. `served` is null while it is the model that the settings name;
    `previous` is what a roll-back brings back, if `can_roll_back`. `lasts`: the next start serves it too."""

    model_config = example(
        {
            "model": A_MODEL,
            "served": None,
            "previous": None,
            "can_roll_back": False,
            "lasts": True,
            "trial": A_TRIAL,
            "versions": [A_VERSION],
        }
    )

    model: ModelInfo
    served: str | None
    previous: str | None
    can_roll_back: bool
    lasts: bool
    trial: TrialDocument
    versions: list[VersionDocument]


class DifferenceDocument(BaseModel):
    """A picture to which the two gave different labels."""

    model_config = example(A_DIFFERENCE)

    image_sha256: str
    served_label: str
    served_score: float
    candidate_label: str
    candidate_score: float


class ComparisonDocument(BaseModel):
    """Two versions side by side: every figure that either has, and the classes that only one of them knows."""

    model_config = example(
        {
            "one": A_VERSION,
            "other": A_VERSION,
            "metrics": {"accuracy": [0.967, 0.947]},
            "only_in_one": [],
            "only_in_other": ["fish"],
        }
    )

    one: VersionDocument
    other: VersionDocument
    metrics: dict[str, list[float | None]]
    only_in_one: list[str]
    only_in_other: list[str]


class ActivationQuery(BaseModel):
    """How sure somebody is."""

    model_config = ConfigDict(extra="forbid")

    override: bool = Field(False, description="Serve it though it was not better than what was served.")


class ComparisonQuery(BaseModel):
    """With which other version."""

    model_config = ConfigDict(extra="forbid")

    other: str = Ref


class TrialBody(BaseModel):
    """The candidate, and the share of answered pictures that it is asked for too."""

    model_config = ConfigDict(extra="forbid", frozen=True) | example({"model": "pets:3b1f0c9d2a77", "share": 0.1})

    model: str = Ref
    share: float = Field(0.1, gt=0, le=1)


def version_document(listed: Listed, served: str | None, previous: str | None) -> dict[str, Any]:
    """As VersionDocument."""
    name, _, version = listed.ref.partition(":")
    manifest = listed.manifest
    return {
        "ref": listed.ref,
        "name": name,
        "version": version,
        "architecture": manifest and manifest.architecture,
        "precision": manifest and manifest.precision,
        "classes": len(listed.labels) or None,
        "created": manifest and manifest.created,
        "metrics": manifest.metrics if manifest else {},
        "run": manifest and manifest.run,
        "beats_served": manifest and manifest.beats_served,
        "bytes": listed.bytes,
        "damage": listed.damage,
        "served": listed.ref == served,
        "previous": listed.ref == previous,
    }


def trial_document(shadow: Shadow) -> dict[str, Any]:
    """As TrialDocument."""
    counts = {name: shadow.totals[name] for name in ("compared", "differed", "passed_over", "failed")}
    return {"model": shadow.model, "share": shadow.share if shadow.model else 0.0, **counts}


def difference_document(result: ShadowResult) -> dict[str, Any]:
    """As DifferenceDocument."""
    return {
        "image_sha256": result.sha256,
        "served_label": result.served_label.label,
        "served_score": round(result.served_label.score, 6),
        "candidate_label": result.candidate_label.label,
        "candidate_score": round(result.candidate_label.score, 6),
    }


def metrics_side_by_side(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, list[float | None]]:
    """Every figure that either has."""
    return {name: [one.get(name), other.get(name)] for name in sorted({*one, *other})}
