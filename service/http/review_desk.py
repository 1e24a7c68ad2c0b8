"""What is worth a person's look: disputed pictures, then those on which two models differ, then the least certain."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from starlette.requests import Request

from service.http.access import identity_of
from service.http.classify import Note
from service.http.multipart import Upload
from service.http.presentation import percent, words
from service.inference.certainty import entropy, margin
from service.inference.labels import ClassTable
from service.inference.predictions import Prediction
from service.inference.shadow import ShadowResult
from service.store.doubts import Doubts
from service.store.feedback import FeedbackRow, FeedbackStore
from service.store.pictures import PictureStore
from service.store.review import Doubt, ReviewRow, ReviewStore
from service.training.feedback import Said
from service.training.runs import Runs
from service.training.trainings import Trainings

MOST = 100
"""Of each kind, shown at once: more than anybody looks through in one go."""
Kind = Literal["disputed", "differs", "unsure"]


@dataclass(frozen=True, slots=True)
class Item:
    """A kept picture to be looked at, and in `why` the reason."""

    kind: Kind
    sha256: str
    file_name: str
    why: str


@dataclass(frozen=True, slots=True)
class Progress:
    """New labels since the last training from feedback, and how many make it worth another; `name`: of the model that
    was trained last, "" where none was."""

    new: int
    needed: int
    name: str

    @property
    def missing(self) -> int:
        """Until it is worth it."""
        return max(0, self.needed - self.new)


def doubting(doubts: Doubts) -> Note:
    """What has the pictures of uncertain answers kept."""

    def note(request: Request, picture: Upload, prediction: Prediction) -> None:
        scores = prediction.scores
        if not doubts.most or scores is None or not doubts.wants(gap := margin(scores)):
            return
        identity = identity_of(request)
        doubt = Doubt(
            user_id=identity.user.id if identity and identity.user else None,
            image_sha256=prediction.image.sha256,
            image_file_name=picture.filename or "picture",
            labels=tuple((label.label, round(label.score, 6)) for label in prediction.labels[:5]),
            margin=gap,
            entropy=entropy(scores),
            model_name=prediction.model.name,
            model_version=prediction.model.version,
        )
        doubts.offer(doubt, picture.data)

    return note


class ReviewDesk:
    """Everything here is for admins: pictures of all people are looked at. All raises StoreBusy.

    `differences` are the last ones, which change while it lives.
    """

    def __init__(
        self,
        feedback: FeedbackStore,
        review: ReviewStore,
        pictures: PictureStore,
        trainings: Trainings,
        differences: Collection[ShadowResult],
        retrain_after: int,
    ) -> None:
        self._feedback = feedback
        self._review = review
        self._pictures = pictures
        self._trainings = trainings
        self._differences = differences
        self._retrain_after = retrain_after

    async def items(self, classes: ClassTable) -> list[Item]:
        """Each picture once, the most urgent first; only those that are kept."""
        differing = {result.sha256: result for result in self._differences}
        decided = await self._feedback.decided(differing)
        found = [
            *_disputed(await self._feedback.contested(MOST), classes),
            *(_differing(result) for sha256, result in differing.items() if sha256 not in decided),
            *map(_unsure, await self._review.least_certain(MOST)),
        ]
        kept = await self._pictures.kept({item.sha256 for item in found})
        return list({item.sha256: item for item in reversed(found) if item.sha256 in kept}.values())[::-1]

    async def progress(self) -> Progress:
        """How near the next training is."""
        since, name = await self._trainings.in_thread(lambda: _last(self._trainings.runs))
        return Progress(await self._feedback.count_labelled(since=since), self._retrain_after, name)


def _disputed(rows: Sequence[FeedbackRow], classes: ClassTable) -> list[Item]:
    """The newest first."""
    said: dict[str, Said] = {}
    last: dict[str, FeedbackRow] = {}
    for row in rows:
        if row.image_sha256:
            said.setdefault(row.image_sha256, Said()).add(row)
            last[row.image_sha256] = row
    names = {label.casefold(): label for label in classes.labels}
    newest = sorted(last, key=lambda sha256: last[sha256].id, reverse=True)
    return [
        Item("disputed", sha256, last[sha256].image_file_name, why)
        for sha256 in newest
        if (why := _dispute(said[sha256], names))
    ]


def _dispute(said: Said, names: dict[str, str]) -> str | None:
    """What is unclear, None when nothing is."""
    labels, denied = _either(said.spelled(names)), _either(said.denied.values())
    if said.disagrees(names):
        not_that = f", and that it is not {denied}" if denied else ""
        return f"People disagree: they say that it is {labels}{not_that}."
    return None if labels else f"Somebody says that it is not {denied}, and nobody says what it is."


def _either(labels: Iterable[str]) -> str:
    return " or ".join(words(label) for label in sorted(set(labels)))


def _differing(result: ShadowResult) -> Item:
    served, other = result.served_label, result.candidate_label
    why = (
        f"Two models differ: {words(served.label)} ({percent(served.score)}) says the one that answers, "
        f"{words(other.label)} ({percent(other.score)}) the one that is tried out."
    )
    return Item("differs", result.sha256, "picture", why)


def _unsure(row: ReviewRow) -> Item:
    why = (
        f"The model was not sure: its first two guesses were {percent(row.margin)} apart "
        f"(entropy {row.entropy:.2f} nats)."
    )
    return Item("unsure", row.image_sha256, row.image_file_name, why)


def _last(runs: Runs) -> tuple[datetime | None, str]:
    """When the last training from feedback was asked for that was not given up, and the name of the last model that
    was trained. Blocking."""
    earlier = runs.newest_done()
    asked = (run for run in runs.all() if run.order.origin == "feedback")
    last = next((status for run in asked if (status := run.status()).state not in ("failed", "cancelled")), None)
    return (last.created if last else None), (earlier.order.name if earlier else "")
