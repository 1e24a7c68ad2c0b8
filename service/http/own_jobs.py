"""The jobs of whoever asks, for programs and pages alike: a request goes in, a job of the caller's comes out."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from starlette.requests import Request

from service.bulk.pictures import JobPictures
from service.bulk.report import Accuracy, measure
from service.bulk.runner import BulkRunner
from service.bulk.upload import Inbox
from service.errors import Forbidden, ImageError, NotFound
from service.http.access import user_of
from service.http.job_documents import job_document
from service.http.multipart import SLACK_BYTES
from service.http.uploads import digits, pass_file
from service.inference import images
from service.inference.labels import ClassTable
from service.inference.thumbnails import thumbnail
from service.store.job_rows import Job, JobItem
from service.store.jobs import JobStore

T = TypeVar("T")
MAX_POSITION = 2**31 - 1


class OwnJobs:
    """The owner is `scope["owner"]`, None for anybody where nobody needs to sign in: such jobs belong to all who are
    not signed in."""

    def __init__(
        self,
        store: JobStore,
        runner: BulkRunner,
        inbox: Inbox,
        pictures: JobPictures,
        limits: images.Limits,
        classes: Callable[[], ClassTable],
    ) -> None:
        self.store = store
        self.inbox = inbox
        self._runner = runner
        self.pictures = pictures
        self._limits = limits
        self._classes = classes

    async def take_in(self, request: Request, name: str = "") -> Job:
        """The archive in the request's body as a new job. Raises as `Inbox.take_in` and `pass_file`."""
        announced = int(digits(request.headers.get("content-length")))
        if request.headers.get("content-type", "").lower().startswith("multipart/"):
            announced = max(0, announced - SLACK_BYTES)  # what a form may have beside its file
        return await self.inbox.take_in(_owner(request), partial(pass_file, request), announced=announced, name=name)

    async def take_folder(self, request: Request, folder: str) -> Job:
        """A folder of this machine as a new job, for an admin's account: what is nobody's is seen by all who are not
        signed in. Raises as `Inbox.take_folder`, Unauthorized and Forbidden."""
        if user_of(request).role != "admin":
            raise Forbidden("Only admins can name a folder on the service's disk. Send a zip.")
        return await self.inbox.take_folder(_owner(request), folder)

    async def all(self, request: Request, *, limit: int, before: int | None) -> tuple[Job, ...]:
        """The newest first."""
        return await self.store.list(_owner(request), limit=limit, before_id=before)

    async def one(self, request: Request) -> Job:
        """The job of the path. Raises NotFound, also for another's."""
        job = await self.store.get(request.path_params["job_id"], _owner(request))
        if job is None:
            raise NotFound("There is no such job of yours.")
        return job

    async def item(self, request: Request) -> tuple[Job, JobItem]:
        """The entry of the path, with its job. Raises NotFound."""
        job, position = await self.one(request), request.path_params["position"]
        item = await self.store.item(job.id, position) if position <= MAX_POSITION else None
        if item is None:
            raise NotFound("There is no such entry in this job, or it has no answer yet.")
        return job, item

    def document(self, job: Job) -> dict[str, Any]:
        """The job and how it goes."""
        return job_document(job, self._runner.progress(job.id))

    async def cancel(self, request: Request) -> Job:
        """Stop the job of the path; what is answered stays. Nothing happens to one that is over."""
        await self._runner.cancel(await self.one(request))
        return await self.one(request)

    async def forget(self, job: Job) -> None:
        """Remove it with all that there is of it."""
        await self.pictures.close(job.id)  # an open file keeps its room on the disk
        await self._runner.forget(job)

    async def accuracy(self, job: Job) -> Accuracy | None:
        """How well the answers agree with the folders; None where the archive has none."""
        confusion = await self.store.confusion(job.id)
        in_first_five = await self.store.in_first(job.id, 5) if confusion else {}
        # What was guessed is a class too, if only of the model that answered then.
        known = {*self._classes().labels, *(label for _, label in confusion), *in_first_five}
        return await asyncio.to_thread(measure, confusion, sum(in_first_five.values()), known)

    async def classes_of(self, job: Job) -> frozenset[str]:
        """The classes that its folders name and by which its answers are judged."""
        accuracy = await self.accuracy(job)
        return frozenset(it.label for it in accuracy.classes if it.support) if accuracy else frozenset()

    async def thumbnail(self, job: Job, item: JobItem) -> bytes:
        """A JPEG file. Raises NotFound for what has no picture (any more)."""
        shown = await self._read(job, item, lambda data: thumbnail(data, self._limits))
        if shown is None:
            raise NotFound("There is no picture to show: it is not kept any more, or it is damaged.")
        return shown

    async def picture(self, request: Request, said: Mapping[str, str]) -> bytes | None:
        """The picture that a form names by `job` and `position`; None when there is none, or not for the caller."""
        job_id, position = int(digits(said.get("job"))), int(digits(said.get("position")))
        if not said.get("job") or position > MAX_POSITION:
            return None
        job = await self.store.get(job_id, _owner(request))
        item = await self.store.item(job_id, position) if job else None
        return await self._read(job, item, lambda data: data) if job and item else None

    async def _read(self, job: Job, item: JobItem, work: Callable[[bytes], T]) -> T | None:
        if item.status != "done":
            return None
        try:
            return await self.pictures.use(job, item.position, work)
        except ImageError:
            return None


def _owner(request: Request) -> str | None:
    owner: str | None = request.scope["owner"]
    return owner
