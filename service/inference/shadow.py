"""A candidate beside the model that answers: it computes some of the same pictures, after their answers, and tells
where the two differ. Nobody waits for it: it works only while the queue is empty, and passes over what comes meanwhile.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from service.cores import BESIDE, lower_priority
from service.errors import Conflict, GlimtError, StartError
from service.inference.engine_thread import EngineThread, Scored
from service.inference.images import Limits, read
from service.inference.labels import top_k
from service.inference.predictions import Label, ModelInfo
from service.inference.serving import Serving
from service.inference.thumbnails import thumbnail
from service.settings import Profile

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShadowResult:
    """The most probable label of one picture by the model that answered, and by the candidate. `preview`: a small
    JPEG, where the two differ."""

    sha256: str
    served: ModelInfo
    candidate: ModelInfo
    served_label: Label
    candidate_label: Label
    preview: bytes | None = None

    @property
    def differs(self) -> bool:
        """By name: the class tables may differ, too."""
        return self.served_label.label != self.candidate_label.label


class Shadow:
    """`await start(serving, share)`, `offer` each answered picture, `await stop()`. Used in the loop only."""

    def __init__(self, limits: Limits, *, is_idle: Callable[[], bool]) -> None:
        self._limits = limits
        self._is_idle = is_idle
        self._thread: EngineThread | None = None
        self._loading: EngineThread | None = None
        self._work: asyncio.Task[None] | None = None
        self._due = 0.0  # pictures; kept while it is busy, so that the share is met when it can be
        self.share = 0.0
        self.totals: Counter[str] = Counter()  # compared, differed, passed_over, failed
        self.on_result: Callable[[ShadowResult], None] = lambda result: None

    @property
    def model(self) -> ModelInfo | None:
        """The candidate, once it is loaded."""
        return self._thread.serving.model if self._thread else None

    async def start(self, serving: Serving, share: float) -> None:
        """Load the candidate; from then on it gets `share` of the answered pictures, over 0 and at most 1.

        Raises ValueError for another share, Conflict when there is a candidate already, StartError when it cannot be
        loaded. Conflict as well when `stop` came
        first. Cancelling leaves none.
        """
        if not 0 < share <= 1:
            raise ValueError("the share of pictures must be over 0 and at most 1")
        if self._loading is not None or self._thread is not None:
            raise Conflict("A candidate is compared already. Stop that first (DELETE /api/trial).")
        thread = self._loading = EngineThread(serving)
        try:
            await thread.load(1)
            await thread.call(lambda: lower_priority(BESIDE))  # after loading: OpenVINO's threads serve too
            if self._loading is not thread:
                raise Conflict("It was stopped while it was being loaded.")
        except BaseException as error:
            thread.retire()
            if isinstance(error, GlimtError) or not isinstance(error, Exception):
                raise
            model = serving.model
            log.exception("%s %s could not be loaded", model.name, model.version)
            raise StartError(f"{model.name} {model.version} could not be loaded: {error}") from error
        finally:
            if self._loading is thread:  # not when it was stopped and another is being loaded
                self._loading = None
        self._thread, self.share, self._due = thread, share, 0.0
        self.totals.clear()

    async def stop(self) -> None:
        """Give the candidate's memory back. Its totals stay. Without one nothing happens."""
        thread, self._thread, self._loading = self._thread, None, None
        if thread is not None:
            thread.retire()
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])

    def offer(self, data: bytes, profile: Profile, sha256: str, scored: Scored) -> None:
        """This picture has just been answered so. Never waits, never raises."""
        thread = self._thread
        if thread is None or thread.serving.model == scored.model:
            return
        self._due = min(self._due + self.share, 1.0)
        if self._due < 1.0:
            return
        if self._work is not None or not self._is_idle():
            self.totals["passed_over"] += 1
            return
        self._due = 0.0
        work = self._compare(thread, data, profile, sha256, scored)
        self._work = asyncio.create_task(work, name="compare with the candidate")
        self._work.add_done_callback(self._done)

    def _done(self, work: asyncio.Task[None]) -> None:
        self._work = None
        if not work.cancelled() and (error := work.exception()) is not None:
            self.totals["failed"] += 1
            log.warning("the candidate failed on a picture: %r", error)

    async def _compare(self, thread: EngineThread, data: bytes, profile: Profile, sha256: str, scored: Scored) -> None:
        served, candidate = scored.serving, thread.serving
        served_label = top_k(scored.scores, served.classes, 1)[0]

        def compare() -> ShadowResult:  # decoded again: the input may have another size, and nobody waits here
            pixels, _ = read(data, self._limits, profile, candidate.input, sha256=sha256)
            label = top_k(thread.predict([pixels])[0].scores, candidate.classes, 1)[0]
            result = ShadowResult(sha256, served.model, candidate.model, served_label, label)
            return replace(result, preview=thumbnail(data, self._limits)) if result.differs else result

        result = await thread.call(compare)
        self.totals["compared"] += 1
        self.totals["differed"] += result.differs
        self.on_result(result)
