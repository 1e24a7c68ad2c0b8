"""What belongs to one account, in every table and on disk: taken out, deleted, and forgotten with time."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson

from service.settings import KeepImages
from service.store.feedback import FeedbackRow, FeedbackStore
from service.store.history import Filter, HistoryRow, HistoryStore
from service.store.job_rows import Job
from service.store.jobs import JobStore
from service.store.pictures import PictureStore
from service.store.review import ReviewStore
from service.store.tokens import TokenStore
from service.store.users import User, UserStore

_CHUNK_ROWS = 500
"""Rows held in memory at once."""
REVIEW_DAYS = 30
"""For which a picture waits to be reviewed."""
_PRIVATE = {"password_hash", "token_version", "owner", "user_id", "idempotency_key"}
"""Of our bookkeeping, and of no use outside."""


class Belongings:
    """An account's rows in every table, and the pictures that only they mention.

    A picture is kept for the feedback on it, or to be reviewed, or, with keep_images=all, for the answer to it. So it
    goes with the last feedback that it is kept for, when it is not kept for review (that ends with the account, with
    the account's history about it, and of what nobody decided with time), and with `all` only when no history mentions
    it either. What reviewers decide keeps no picture. Where `all` are kept, pictures
    that only anonymous people sent stay: no row says whose they are. Feedback that names the picture of others is not
    what it is kept for.
    A job's archive goes with its row: `forget_job` deletes both, and stops it.
    Everything here raises StoreBusy; what deletes also StoreFull and Draining.
    """

    def __init__(
        self,
        users: UserStore,
        tokens: TokenStore,
        feedback: FeedbackStore,
        history: HistoryStore,
        pictures: PictureStore,
        keep_images: KeepImages,
        jobs: JobStore,
        forget_job: Callable[[Job], Awaitable[None]],
        review: ReviewStore,
    ) -> None:
        self._users = users
        self._tokens = tokens
        self._feedback = feedback
        self._history = history
        self._pictures = pictures
        self._keeps_all = keep_images == "all"
        self._jobs = jobs
        self._forget_job = forget_job
        self._review = review

    async def remove(self, user: User) -> None:
        """Delete the account and all of it. Raises Conflict for the last admin, who then loses nothing."""
        kept: set[str] = set()
        async for notes in self._feedback_of(user):
            mine = {note.image_sha256 for note in notes if note.image_sha256 and note.image_kept}
            kept |= await self._pictures.kept(mine)
        async for rows in self._history_of(user):
            kept |= await self._pictures.kept({row.image_sha256 for row in rows})
        kept |= {doubt.image_sha256 for doubt in await self._review.of(user.id)}
        await self._users.remove(user.id)
        await self._forget(sorted(kept))
        while jobs := await self._jobs.list(user.owner):
            for job in jobs:
                await self._forget_job(job)

    async def export(self, user: User) -> AsyncIterator[bytes]:
        """All of it as NDJSON lines, each with its `type`: account, session, token, feedback, prediction, review, job.

        A job without the answers to its pictures: they can be 100,000 lines, and each job has its own download.
        """
        yield _line("account", user)
        for kind in ("session", "token"):
            for token in await self._tokens.list(user.id, kind):
                yield _line(kind, token)
        async for notes in self._feedback_of(user):
            for note in notes:
                yield _line("feedback", note)
        async for rows in self._history_of(user):
            for row in rows:
                yield _line("prediction", row)
        for doubt in await self._review.of(user.id):
            yield _line("review", doubt)
        async for jobs in self._jobs_of(user):
            for job in jobs:
                yield _line("job", job)

    async def concerns(self, sha256: str, owner: str | None) -> bool:
        """Whether a kept picture is the owner's: an account's own row is about it; nobody's (None), when an anonymous
        row is or none at all."""
        owners = await self._feedback.owners(sha256) | set(map(str, await self._history.users(sha256)))
        owners |= {None if user_id is None else str(user_id) for user_id in await self._review.users(sha256)}
        return owner in owners or (owner is None and not owners)

    async def remove_feedback(self, feedback_id: int, owner: str | None) -> bool:
        """Take one's feedback back, with its picture. False when there is no such feedback of the owner's."""
        row = await self._feedback.get(feedback_id, owner)
        if row is None or not await self._feedback.remove(feedback_id, owner):
            return False
        await self.forget(row.image_sha256 if row.image_kept else None, owner)
        return True

    async def remove_prediction(self, row_id: int, user: User) -> bool:
        """Delete a row of one's history, with its picture. False when there is no such row of the account's."""
        sha256 = await self._history.remove(row_id, user.id)
        if sha256 is None:
            return False
        await self._review.remove(user.id, [sha256])
        await self._forget([sha256])
        return True

    async def remove_history(self, user: User) -> None:
        """Delete one's history as it is now, with its pictures."""
        newest = await self._history.list(user.id, limit=1)
        while newest and (sha256s := await self._history.remove_some(user.id, newest[0].id)):
            await self._review.remove(user.id, sha256s)
            await self._forget(sha256s)

    async def forget(self, sha256: str | None, owner: str | None) -> None:
        """Remove a picture that was kept for a row of this owner's, unless another row mentions it."""
        if sha256 and not (self._keeps_all and owner is None):
            await self._forget([sha256])

    async def expire(self, history_days: int) -> None:
        """Delete the history that is older or too much, with its pictures, what nobody has reviewed in time, and
        sessions and tokens that have ended."""
        await self._tokens.remove_expired()
        await self._in_chunks(partial(self._review.remove_some_before, datetime.now(UTC) - timedelta(days=REVIEW_DAYS)))
        before = datetime.now(UTC) - timedelta(days=history_days)
        await self._in_chunks(partial(self._history.remove_some_before, before))
        for user_id, newest_id in await self._history.too_many():
            await self._in_chunks(partial(self._history.remove_some, user_id, newest_id))

    async def _in_chunks(self, remove_some: Callable[[], Awaitable[Sequence[str]]]) -> None:
        while sha256s := await remove_some():
            await self._forget(sha256s)

    async def _forget(self, sha256s: Sequence[str]) -> None:
        """The rule about pictures, in bounded chunks."""
        # Should the same picture come with a new row at this very moment, that row outlives its file: readers of kept
        # pictures must cope with a missing one, as they must when somebody tidies the folder.
        for start in range(0, len(sha256s), _CHUNK_ROWS):
            chunk = set(sha256s[start : start + _CHUNK_ROWS])
            await self._pictures.remove(*chunk - await self._mentioned(chunk))

    async def _mentioned(self, sha256s: Collection[str]) -> set[str]:
        mentioned = await self._feedback.mentioned(sha256s) | await self._review.mentioned(sha256s)
        return mentioned | await self._history.mentioned(sha256s) if self._keeps_all else mentioned

    async def _feedback_of(self, user: User) -> AsyncIterator[tuple[FeedbackRow, ...]]:
        last: int | None = None
        while rows := await self._feedback.list(user.owner, limit=_CHUNK_ROWS, before_id=last):
            yield rows
            last = rows[-1].id

    async def _history_of(self, user: User) -> AsyncIterator[tuple[HistoryRow, ...]]:
        last: int | None = None
        while rows := await self._history.list(user.id, limit=_CHUNK_ROWS, only=Filter(before_id=last)):
            yield rows
            last = rows[-1].id

    async def _jobs_of(self, user: User) -> AsyncIterator[tuple[Job, ...]]:
        last: int | None = None
        while jobs := await self._jobs.list(user.owner, limit=_CHUNK_ROWS, before_id=last):
            yield jobs
            last = jobs[-1].id


def _line(kind: str, row: Any) -> bytes:
    content = {name: value for name, value in asdict(row).items() if name not in _PRIVATE}
    return orjson.dumps({"type": kind} | content, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)
