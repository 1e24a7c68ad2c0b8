"""The answer to one picture: kept, or in flight for somebody else as well, or decoded, queued and computed now.

Identical pictures in flight are computed once, and a computation that nobody waits for any more is cancelled, wherever
it is.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service.errors import DeadlineExceeded, QueueFull
from service.inference.batcher import Batcher
from service.inference.decoding import Decoders
from service.inference.engine_thread import Scored
from service.inference.lanes import INTERACTIVE, Lane
from service.inference.predictions import ImageInfo, Receipt
from service.inference.serving import Identity
from service.inference.sharing import Flights, Kept
from service.inference.worker import Worker
from service.settings import Profile

Key = tuple[str, Identity, Profile]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One caller's wish. `deadline` is a time of the loop's clock."""

    data: bytes
    profile: Profile
    deadline: float | None
    lane: Lane
    patient: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What one picture's computation gave, before it is cut to somebody's top-k."""

    scored: Scored
    image: ImageInfo
    receipt: Receipt


class Answers:
    """`await answers.get(wanted)`; up to `entries` answers are kept for those who ask again, 0: none, nor shared."""

    def __init__(
        self, worker: Worker, batcher: Batcher[NDArray[np.uint8], Scored | None], decoders: Decoders, entries: int
    ) -> None:
        self._worker, self._batcher, self._decoders = worker, batcher, decoders
        self._entries = entries
        self._kept = Kept[Key, Answer](entries)
        self._flights = Flights[tuple[Key, Lane], Answer]()

    @property
    def kept(self) -> int:
        """Answers kept for those who ask again."""
        return len(self._kept)

    async def get(self, wanted: Wanted) -> Answer:
        """Kept, shared with who asks for the same now, or computed. Raises as Classifier.classify."""
        if not self._entries:
            return await self._compute(wanted, None)
        sha256 = await self._decoders.sha256(wanted.data)
        while True:
            key = (sha256, self._worker.serving.identity, wanted.profile)
            if (answer := self._kept.get(key)) is not None:
                return _not_computed(answer)
            flight = (key, wanted.lane)
            joined = flight in self._flights
            try:
                answer = await self._flights.ride(flight, partial(self._compute, wanted, sha256))
                return _not_computed(answer) if joined else answer
            except (DeadlineExceeded, QueueFull):  # on the terms of the client that started it: then on our own
                if not joined:
                    raise

    async def _compute(self, wanted: Wanted, sha256: str | None) -> Answer:
        scored, patient = None, wanted.patient
        while scored is None:  # decoded for a model that has left meanwhile: again, and not refused on the way
            if patient:
                await self._batcher.door.wait_for_room()
            with self._batcher.door.announce(wanted.lane):
                spec = self._worker.serving.input
                decoded = await self._decoders.decode(wanted.data, wanted.profile, spec, wanted.lane, sha256)
            outcome = await self._batcher.submit(decoded.pixels, deadline=wanted.deadline, lane=wanted.lane)
            scored, patient = outcome.result, True
        receipt = Receipt(
            decode_ms=decoded.decode_ms,
            queue_ms=outcome.queue_s * 1000,
            infer_ms=scored.infer_ms,
            total_ms=0.0,
            batch_size=outcome.batch_size,
            released_by=outcome.released_by,
            cached=False,
        )
        answer = Answer(scored, decoded.image, receipt)
        if sha256 and wanted.lane == INTERACTIVE:  # an archive's would push out all that people ask again
            self._kept.keep((sha256, scored.serving.identity, wanted.profile), answer)
        return answer


def _not_computed(answer: Answer) -> Answer:
    """The same answer for who did not cause the computation: from the cache, or from a picture in flight."""
    receipt = replace(
        answer.receipt, decode_ms=0.0, queue_ms=0.0, infer_ms=0.0, batch_size=0, released_by=None, cached=True
    )
    return replace(answer, receipt=receipt)
