"""Training for programs and pages alike: what is asked for becomes a run, and what there is of a run is shown."""

import asyncio
import io
from datetime import UTC, datetime, time
from functools import partial
from pathlib import Path

from PIL import Image
from pydantic import ValidationError
from starlette.requests import Request

from service.bulk.upload import Inbox, shown
from service.errors import BadRequest, InvalidField, NotFound
from service.http.json_body import reasons
from service.http.multipart import SLACK_BYTES
from service.http.training_documents import Wanted
from service.http.uploads import digits, pass_file
from service.models.names import REF_PATTERN
from service.training import feedback
from service.training.dataset import open_pixels
from service.training.datasets import About
from service.training.orders import Order
from service.training.runs import Run
from service.training.trainings import Trainings

SHEETS = ("augmentation", "map-1", "map-2", "map-3")


class TrainerDesk:
    """Everything here is for admins: pictures of all people are learned from."""

    def __init__(self, trainings: Trainings, inbox: Inbox) -> None:
        self.trainings = trainings
        self.datasets = trainings.datasets
        self._inbox = inbox

    async def take_in(self, request: Request, name: str = "") -> About:
        """The zip in the request's body as a new dataset. Raises as `Datasets.place` and `add`, and `Inbox.receive`."""
        announced = int(digits(request.headers.get("content-length")))
        if request.headers.get("content-type", "").lower().startswith("multipart/"):
            announced = max(0, announced - SLACK_BYTES)
        place = await asyncio.to_thread(self.datasets.place)
        async with self._inbox.receive(partial(pass_file, request), announced=announced) as (arrival, sent_name):
            await arrival.move(place)
        return await asyncio.to_thread(self.datasets.add, place, shown(sent_name or name))

    async def begin(self, wanted: Wanted) -> Run:
        """Start the run that a NewRun asks for. Raises InvalidField, Draining, and as `Trainings.begin`."""
        self._inbox.refuse_when_draining()
        order = await self.trainings.in_thread(partial(self._order, wanted))
        since = datetime.combine(wanted.since, time(), UTC) if wanted.since else None
        return await self.trainings.begin(order, since=since)

    def run(self, request: Request) -> Run:
        """The run of the path. Blocking. Raises NotFound."""
        return self.trainings.runs.get(request.path_params["run"])

    async def resume(self, request: Request) -> Run:
        """Go on with the run of the path. Raises NotFound, Conflict, Draining."""
        self._inbox.refuse_when_draining()
        return await self.trainings.resume(await self.trainings.in_thread(partial(self.run, request)))

    async def cancel(self, request: Request) -> Run:
        """End the run of the path. Raises NotFound, Conflict."""
        return await self.trainings.cancel(await self.trainings.in_thread(partial(self.run, request)))

    async def remove(self, request: Request) -> None:
        """Remove the run of the path, ended first if need be. Raises NotFound, Conflict."""
        run = await self.cancel(request)
        await self.trainings.in_thread(partial(self.trainings.runs.remove, run))

    async def report(self, request: Request) -> bytes:
        """report.json of the path's run. Raises NotFound."""
        return await self.trainings.in_thread(lambda: _file(self.run(request), "report.json", "It is not done."))

    async def sheet(self, request: Request) -> bytes:
        """A PNG of the path's run. Raises NotFound."""
        name = request.path_params["sheet"]
        if name not in SHEETS:
            raise NotFound(f"There is no such sheet; there are {', '.join(SHEETS)}.")
        missing = "It has no such sheet, or not yet."
        return await self.trainings.in_thread(lambda: _file(self.run(request), f"{name}.png", missing))

    async def picture(self, request: Request) -> bytes:
        """A picture of the path's run, as the model sees it, a JPEG. Raises NotFound."""
        index = request.path_params["index"]
        return await self.trainings.in_thread(lambda: _picture(self.run(request), index))

    def _order(self, wanted: Wanted) -> Order:
        runs, asked = self.trainings.runs, wanted.asked
        _check_weights(asked.get("weights", "imagenet"))
        earlier = runs.get(asked["extends"]) if "extends" in asked else None
        if wanted.dataset is not None:
            source = {"source": self.datasets.source(wanted.dataset), "origin": "upload"}
        else:
            earlier = earlier or runs.newest_done(asked.get("name"))
            source = {"source": feedback.FILE, "origin": "feedback"}
        if earlier is not None and earlier.status().state != "done":
            raise BadRequest(f"{earlier.id} is not done, so it cannot be extended. Resume it, or begin anew.")
        fields = (earlier.bequest() if earlier else {}) | asked | source
        if "name" not in fields:
            raise InvalidField("name: say what the model shall be called.")
        try:
            return Order.model_validate(fields)
        except ValidationError as error:
            raise InvalidField(f"{reasons(error)}.") from error


def _check_weights(weights: str) -> None:
    """No path: what an answer says about a file would tell whether it is there. Raises InvalidField."""
    if not REF_PATTERN.fullmatch(weights) or Path(weights).exists():
        raise InvalidField(
            "weights: imagenet, random, or NAME:VERSION of a model here. To begin with a file's: glimt train --weights "
            "FILE, on the service's machine."
        )


def _file(run: Run, name: str, missing: str) -> bytes:
    try:
        return (run.folder / name).read_bytes()
    except FileNotFoundError:
        raise NotFound(missing) from None


def _picture(run: Run, index: int) -> bytes:
    pixels = open_pixels(run.folder)
    if index >= len(pixels):
        raise NotFound(f"Training run {run.id} has {len(pixels):,} pictures, counted from 0.")
    file = io.BytesIO()
    Image.fromarray(pixels[index]).save(file, "JPEG", quality=90)
    return file.getvalue()
