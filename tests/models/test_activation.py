import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.errors import Conflict, Draining, ModelUnusable, NotFound, StartError, StoreFull
from service.inference.images import Limits
from service.inference.serving import Serving
from service.inference.shadow import Shadow
from service.inference.worker import Worker
from service.models import choice
from service.models.activation import Activation
from service.models.served import ServedModel
from service.models.versions import ModelVersion
from service.settings import Settings
from tests.fakes import GatedEngine
from tests.inference.models import MODEL, serving
from tests.models.shelf import put
from tests.world import until


class Desk:
    """An activation over a real worker; its engines are fakes, and the broken ones do not load."""

    def __init__(self, data: Path, **named: Any) -> None:
        self.settings = Settings.model_validate({"data_dir": data, "weights_site": "http://127.0.0.1:1"} | named)
        self.broken: set[str] = set()
        self.worker = Worker(serving(GatedEngine()), max_batch=1)
        self.shadow = Shadow(Limits(1000, 1000), is_idle=lambda: True)
        self.draining = asyncio.Event()
        self.activation = Activation(self.settings, self.worker, self.shadow, self._serving, self.draining)

    def _serving(self, served: ServedModel) -> Serving:
        engine = GatedEngine(len(served.classes))
        if served.info.version in self.broken:
            engine.load = self._fail  # type: ignore[method-assign]
        return serving(engine, model=served.info, size=served.input.size, classes=served.classes)

    def _fail(self) -> None:
        raise StartError("it does not fit")

    def put(self, content: bytes = b"weights", **what: Any) -> ModelVersion:
        """A version to choose."""
        return put(self.activation.registry, content=content, **what)


@asynccontextmanager
async def open_desk(data: Path, **named: Any) -> AsyncIterator[Desk]:
    desk = Desk(data, **named)
    async with desk.worker:
        await desk.worker.loaded()
        yield desk
        await desk.shadow.stop()


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither its weights nor its settings."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for name in ("GLIMT_MODEL", "GLIMT_WEIGHTS", "GLIMT_FALLBACK"):
        monkeypatch.delenv(name, raising=False)


async def test_an_activated_version_answers_and_is_written_down(tmp_path: Path) -> None:
    """The worker has it, and the next start will."""
    async with open_desk(tmp_path) as desk:
        version = desk.put()
        info = await desk.activation.activate("pets")
        assert desk.worker.model == info
        assert (info.name, info.version) == ("pets", version.version)
        assert desk.activation.registry.pointer().served == desk.activation.served == version.ref


async def test_a_roll_back_brings_back_what_was_before(tmp_path: Path) -> None:
    """And a second one undoes the first."""
    async with open_desk(tmp_path) as desk:
        old, new = desk.put(b"old"), desk.put(b"new")
        await desk.activation.activate(old.ref)
        await desk.activation.activate(new.ref)
        assert (await desk.activation.roll_back()).version == old.version
        assert (await desk.activation.roll_back()).version == new.version
        assert desk.activation.registry.pointer().previous == old.ref


async def test_a_roll_back_reaches_the_configured_model(tmp_path: Path) -> None:
    """What was served before anything was activated; here the demo, for want of weights."""
    async with open_desk(tmp_path) as desk:
        desk.put()
        await desk.activation.activate("pets")
        assert (await desk.activation.roll_back()).name == "demo"
        assert desk.activation.served is None


async def test_without_an_activation_there_is_nothing_to_roll_back(tmp_path: Path) -> None:
    """It is said, and nothing happens."""
    async with open_desk(tmp_path) as desk:
        with pytest.raises(Conflict, match="nothing to go back to"):
            await desk.activation.roll_back()


async def test_a_version_that_did_not_beat_the_served_one_needs_an_override(tmp_path: Path) -> None:
    """A worse candidate is not served by mistake; a person may insist."""
    async with open_desk(tmp_path) as desk:
        version, before = desk.put(beats_served=False), desk.worker.model
        with pytest.raises(Conflict, match="was not better"):
            await desk.activation.activate(version.ref)
        assert desk.worker.model == before
        await desk.activation.activate(version.ref, override=True)
        assert desk.worker.model.version == version.version


@pytest.mark.parametrize("fault", ["a flipped byte", "a missing file", "does not load"])
async def test_a_version_that_cannot_be_served_changes_nothing(tmp_path: Path, fault: str) -> None:
    """T31: the old one goes on, the choice is not written down, and the words name the reason."""
    async with open_desk(tmp_path) as desk:
        version, before = desk.put(), desk.worker.model
        if fault == "a flipped byte":
            version.weights.write_bytes(b"Weights")
        elif fault == "a missing file":
            version.weights.unlink()
        else:
            desk.broken.add(version.version)
        with pytest.raises(ModelUnusable, match=r"pets\.weights\.h5|does not fit"):
            await desk.activation.activate("pets")
        assert desk.worker.model == before
        assert desk.activation.registry.pointer().served is None


async def test_an_unknown_version_is_not_found(tmp_path: Path) -> None:
    """404, and nothing changes."""
    async with open_desk(tmp_path) as desk:
        with pytest.raises(NotFound):
            await desk.activation.activate("cats")


async def test_what_is_served_is_not_activated_again(tmp_path: Path) -> None:
    """It would make itself what a roll-back brings back."""
    async with open_desk(tmp_path) as desk:
        desk.put()
        await desk.activation.activate("pets")
        with pytest.raises(Conflict, match="is served already"):
            await desk.activation.activate("pets")


async def test_of_two_at_once_the_second_is_refused(tmp_path: Path) -> None:
    """T34: one of them is served, the other gets a conflict at once."""
    async with open_desk(tmp_path) as desk:
        refs = desk.put(b"one").ref, desk.put(b"two").ref
        outcomes = await asyncio.gather(*map(desk.activation.activate, refs), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(desk.worker.model), Conflict]
        assert desk.activation.served == refs[0]


async def test_nothing_else_is_done_while_a_model_is_brought_in(tmp_path: Path) -> None:
    """T34: to go back, or to try another out, has to wait as well."""
    async with open_desk(tmp_path) as desk:
        first, second = desk.put(b"one").ref, desk.put(b"two").ref
        await desk.activation.activate(first)
        both = desk.activation.roll_back(), desk.activation.try_out(first, 0.5)
        outcomes = await asyncio.gather(desk.activation.activate(second), *both, return_exceptions=True)
        assert desk.activation.served == second
        assert [str(outcome)[:36] for outcome in outcomes[1:]] == ["Another model is being brought in ju"] * 2


async def test_a_choice_that_cannot_be_written_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the next start would serve another model than everybody thinks."""
    async with open_desk(tmp_path) as desk:
        desk.put()
        before = desk.worker.model

        def no_room(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(desk.activation.registry, "point", no_room)
        with pytest.raises(StoreFull, match="No space left"):
            await desk.activation.activate("pets")
        assert desk.worker.model == before


async def test_the_shadow_ends_when_it_becomes_the_served_one(tmp_path: Path) -> None:
    """There is nothing left to compare."""
    async with open_desk(tmp_path) as desk:
        version = desk.put()
        await desk.activation.try_out("pets", 0.5)
        assert desk.shadow.model is not None
        assert desk.worker.model.version != version.version
        await desk.activation.activate("pets")
        assert desk.shadow.model is None


async def test_what_the_operator_named_is_what_a_roll_back_reaches(tmp_path: Path) -> None:
    """An old choice in the pointer does not matter where --model names one, and it is said that none will last."""
    async with open_desk(tmp_path) as first:
        first.put()
        await first.activation.activate("pets")
    async with open_desk(tmp_path, model="demo") as desk:
        assert desk.activation.served is None
        assert not desk.activation.can_roll_back
        assert not desk.activation.lasts


@pytest.mark.parametrize("ref", ["pets", None])
async def test_what_is_in_use_is_not_deleted(tmp_path: Path, ref: str | None) -> None:
    """By its full name neither."""
    async with open_desk(tmp_path) as desk:
        version = desk.put()
        await desk.activation.activate("pets")
        with pytest.raises(Conflict, match="Activate another one first"):
            await desk.activation.delete(ref or version.ref)


async def test_what_is_about_to_be_served_is_not_deleted(tmp_path: Path) -> None:
    """The pointer named a version that was gone: the service answered with it until its next start, which failed."""
    async with open_desk(tmp_path) as desk:
        version = desk.put()
        activating = asyncio.create_task(desk.activation.activate("pets"))
        await asyncio.sleep(0)
        with pytest.raises(Conflict, match="being brought in"):
            await desk.activation.delete(version.ref)
        await activating
        assert desk.activation.registry.read("pets") == version


async def test_no_model_is_brought_in_while_the_service_drains(tmp_path: Path) -> None:
    """It once loaded another one after SIGTERM, in the time that those who wait for answers have."""
    async with open_desk(tmp_path) as desk:
        version, before = desk.put(), desk.worker.model
        desk.draining.set()
        for change in (desk.activation.activate(version.ref), desk.activation.try_out(version.ref, 1.0)):
            with pytest.raises(Draining, match="shutting down"):
                await change
        assert (desk.worker.model, desk.shadow.model) == (before, None)
        assert desk.activation.registry.pointer().served is None


async def test_a_drain_that_begins_while_its_files_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is in time: nothing is loaded yet."""
    async with open_desk(tmp_path) as desk:
        version, before = desk.put(), desk.worker.model

        def registered(ref: str, settings: Settings) -> ServedModel:
            desk.draining.set()
            return choice.registered(ref, settings)

        monkeypatch.setattr("service.models.activation.registered", registered)
        with pytest.raises(Draining):
            await desk.activation.activate(version.ref)
        assert desk.worker.model == before


async def test_the_version_that_the_operator_named_is_not_deleted(tmp_path: Path) -> None:
    """It answers though nothing was activated, and a roll-back needs it."""
    desk = Desk(tmp_path, model="pets")
    version = desk.put()
    desk.worker = Worker(serving(GatedEngine(), model=replace(MODEL, name="pets", version=version.version)))
    activation = Activation(desk.settings, desk.worker, desk.shadow, desk._serving, desk.draining)
    with pytest.raises(Conflict, match="was started with"):
        await activation.delete(version.ref)


async def test_cancelled_while_the_choice_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread writes it all the same: what answers, what is said to answer and the pointer are one model."""
    async with open_desk(tmp_path) as desk:
        version, registry = desk.put(), desk.activation.registry
        writes, may_write, write = threading.Event(), threading.Event(), registry.point

        def slow(*choice: str | None) -> None:
            writes.set()
            may_write.wait()
            write(*choice)

        monkeypatch.setattr(registry, "point", slow)
        activating = asyncio.create_task(desk.activation.activate("pets"))
        await until(writes.is_set)
        activating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await activating
        may_write.set()
        await until(lambda: registry.pointer().served == version.ref)
        assert desk.activation.served == version.ref
        assert desk.worker.model.version == version.version
