"""Which model answers, changed while the service runs: activate a version, roll back, try one out in the shadow."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from service.errors import Conflict, Draining, ModelUnusable, StartError, StoreFull
from service.inference.predictions import ModelInfo
from service.inference.serving import Serving
from service.inference.shadow import Shadow, ShadowResult
from service.inference.worker import Worker
from service.models.choice import configured, registered
from service.models.registry import Pointer, Registry
from service.models.served import ServedModel
from service.models.versions import ModelVersion
from service.settings import Settings

DIFFERENCES = 100
"""Kept in memory, the last ones: more nobody looks at."""

log = logging.getLogger(__name__)


class Activation:
    """Names are NAME or NAME:VERSION of the registry; None is the model that the settings name, or stand in for."""

    def __init__(
        self,
        settings: Settings,
        worker: Worker,
        shadow: Shadow,
        make_serving: Callable[[ServedModel], Serving],
        draining: asyncio.Event,
    ) -> None:
        """Once `draining` is set no other model is brought in."""
        self.registry = Registry(settings.data_path)
        self._settings = settings
        self._worker = worker
        self._shadow = shadow
        self._make_serving = make_serving
        self._draining = draining
        self._busy = False
        self.differences: deque[ShadowResult] = deque(maxlen=DIFFERENCES)  # where the tried one answered otherwise
        shadow.on_result = self._note
        pointer = Pointer() if settings.named_a_model else self.registry.pointer()
        self._served, self._previous = pointer.served, pointer.previous
        self._named = _ref(worker.model) if settings.named_a_model else None

    @property
    def served(self) -> str | None:
        """What answers, as NAME:VERSION."""
        return self._served

    @property
    def previous(self) -> str | None:
        """What a roll-back would bring back."""
        return self._previous

    @property
    def can_roll_back(self) -> bool:
        """Whether anything was activated that could be taken back."""
        return self._served != self._previous

    @property
    def lasts(self) -> bool:
        """Whether the next start serves what is activated: not where the operator names a model."""
        return not self._settings.named_a_model

    async def activate(self, ref: str, *, override: bool = False) -> ModelInfo:
        """Serve this version, between two batches; what answered is kept for a roll-back.

        Raises NotFound; Conflict when it is served already, another change is under way, or it did not beat what was
        served when it was trained and nobody overrides that; ModelUnusable when it cannot be loaded, StoreFull when
        the choice cannot be written down, Draining when the service is shutting down: then the old one goes on.
        """
        with self._alone():
            version = await asyncio.to_thread(self._read, ref)
            if version.ref == self._served:
                raise Conflict(f"{version.ref} is served already.")
            if version.beats_served is False and not override:
                raise Conflict(
                    f"{version.ref} was not better than the model that was served when it was trained: its report "
                    "shows both. To serve it all the same, override that (?override=true, --override)."
                )
            return await self._serve(version.ref, self._served)

    async def roll_back(self) -> ModelInfo:
        """Serve again what was served before. Raises as `activate`; Conflict when there is nothing to go back to."""
        with self._alone():
            if not self.can_roll_back:
                raise Conflict("There is nothing to go back to: no other model was activated.")
            return await self._serve(self._previous, self._served)

    async def try_out(self, ref: str, share: float) -> None:
        """Ask this version too, for a share in (0, 1] of the pictures, and only compare. Raises as `activate`."""
        with self._alone():
            try:
                await self._shadow.start(await self._serving(ref), share)
                self.differences.clear()
            except StartError as error:
                raise ModelUnusable(error.detail) from error

    async def stop_trying(self) -> None:
        """No more comparing."""
        await self._shadow.stop()

    async def delete(self, ref: str) -> None:
        """Delete a version. Raises NotFound, ModelUnusable; Conflict for one that is in use, or while another change
        is under way: that may be about to serve it."""
        with self._alone():
            found = await asyncio.to_thread(self._found, ref)
            if found == self._named:
                raise Conflict(f"{found} is what the service was started with. Start it with another one first.")
            if found in (self._served, self._previous):
                raise Conflict(f"{found} is served, or what a roll-back brings back. Activate another one first.")
            await asyncio.to_thread(self.registry.delete, found)

    def _note(self, result: ShadowResult) -> None:
        if result.differs:
            self.differences.append(result)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._busy:
            raise Conflict("Another model is being brought in just now. Try again when that is done.")
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    async def _serve(self, ref: str | None, former: str | None) -> ModelInfo:
        serving, outgoing = await self._serving(ref), self._worker.serving
        try:
            await self._worker.swap(serving)
        except StartError as error:
            raise ModelUnusable(error.detail) from error
        before = self._served, self._previous
        self._served, self._previous = ref, former  # at once: who is cancelled in the next line has changed it
        try:
            await asyncio.to_thread(self.registry.point, ref, former)
        except OSError as error:
            await self._worker.swap(outgoing)
            self._served, self._previous = before
            raise StoreFull(f"The choice cannot be written to {self.registry.folder}: {error.strerror}.") from error
        if self._shadow.model == serving.model:
            await self._shadow.stop()
        log.info("%s is served now, after %s", ref or "the configured model", former or "the configured model")
        return serving.model

    async def _serving(self, ref: str | None) -> Serving:
        choose = partial(configured, self._settings) if ref is None else partial(registered, ref, self._settings)
        try:
            self._refuse_if_draining()
            served = await asyncio.to_thread(choose)
            self._refuse_if_draining()  # checking its files takes a while
            return self._make_serving(served)
        except StartError as error:
            raise ModelUnusable(error.detail) from error

    def _refuse_if_draining(self) -> None:
        if self._draining.is_set():
            raise Draining("The service is shutting down and brings in no other model.", retry_after_s=5)

    def _found(self, ref: str) -> str:
        """NAME:VERSION of it, be it damaged or not."""
        try:
            folder = self.registry.folder_of(ref)
        except StartError as error:
            raise ModelUnusable(error.detail) from error
        return f"{folder.parent.name}:{folder.name}"

    def _read(self, ref: str) -> ModelVersion:
        try:
            return self.registry.read(ref)
        except StartError as error:
            raise ModelUnusable(error.detail) from error


def _ref(model: ModelInfo) -> str:
    return f"{model.name}:{model.version}"
