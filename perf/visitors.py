"""Everybody at once, for a soak: programs, people, and those who do not behave. And what became of each visit.

A visit ends "answered" when it got what it should have got, which for a damaged picture is a clear refusal of it;
"refused" with a 503 or 429 that says when to come again; "left" when it hung up on purpose. Anything else is the
service's fault: a status, BROKEN, or what was wrong with the answer.
"""

import asyncio
import io
import random
import uuid
import zipfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import httpx2
import orjson

from perf.clients import BROKEN
from service.tuning.load import SEED
from service.tuning.pictures import Distinct

ANSWERED, REFUSED, LEFT = "answered", "refused", "left"
FINE = (ANSWERED, REFUSED, LEFT)
RETRY_LIMIT_S = 5.0  # obeyed of a Retry-After
REPEATED = 20
STREAMED = 8
ZIPPED = 40
POLL_S = 0.5
RUSH = 3
OVER = ("done", "failed", "cancelled")
OVER_BYTES = 100 * 1024 * 1024  # announced, over any picture's limit; never sent
JPEG = {"Content-Type": "image/jpeg"}
FEEDBACK = {"predicted_class": "collie", "score": 0.5, "image_file_name": "soak.jpg", "feedback": "a soak"}

Visit = Callable[[], Awaitable[str]]


class Guests(NamedTuple):
    """So many who visit, rest, and visit again."""

    many: int
    rest_s: float
    visit: Visit


class Visitors:
    """`crowd` of them on the service at `port`; `ledger` counts the visits by kind and end."""

    def __init__(self, port: int, pictures: Sequence[bytes], client: httpx2.AsyncClient) -> None:
        self.ledger: Counter[tuple[str, str]] = Counter()
        self._port, self._client = port, client
        self._chance = random.Random(SEED)
        self._distinct = Distinct([*pictures])
        self._repeated = [next(self._distinct) for _ in range(REPEATED)]

    @property
    def guests(self) -> dict[str, Guests]:
        """Who comes, by name."""
        return {
            "one picture": Guests(4, 0.02, self.one_picture),
            "a picture again": Guests(1, 0.05, self.picture_again),
            "stream": Guests(1, 0.2, self.stream),
            "page": Guests(1, 0.5, self.page),
            "feedback": Guests(1, 0.2, self.feedback),
            "zip": Guests(1, 5.0, self.zip),
            "leaver": Guests(2, 0.1, self.leaver),
            "damaged picture": Guests(1, 0.1, self.damaged),
            "oversized picture": Guests(1, 0.5, self.oversized),
        }

    async def crowd(self, seconds: float, rush_s: float = 0.0) -> None:
        """All of them for so long, RUSH times as many for the first `rush_s`; a visit that has begun is ended."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for kind, guests in self.guests.items():
                for number in range(guests.many * RUSH):
                    stays_s = seconds if number < guests.many else rush_s
                    group.create_task(self._come(kind, guests, began + stays_s))

    async def _come(self, kind: str, guests: Guests, until: float) -> None:
        clock = asyncio.get_running_loop().time
        while clock() < until:
            told_s = await self.receive(kind, guests.visit)
            await asyncio.sleep(min(max(guests.rest_s, told_s), max(0.0, until - clock())))

    async def receive(self, kind: str, visit: Visit) -> float:
        """One visit, counted; for how many seconds the visitor was told to stay away."""
        told_s = 0.0
        try:
            end = await visit()
        except _Told as told:
            end, told_s = REFUSED, min(told.retry_after_s, RETRY_LIMIT_S)
        except _Wrong as wrong:
            end = str(wrong)
        except (httpx2.TransportError, OSError, EOFError, TimeoutError):
            end = BROKEN
        except (ValueError, LookupError):
            end = "an answer that cannot be read"
        self.ledger[kind, end] += 1
        return told_s

    async def one_picture(self) -> str:
        """That nobody has sent before."""
        _need(await self._post("/predict", next(self._distinct), JPEG), 200)
        return ANSWERED

    async def picture_again(self) -> str:
        """One of a few: the cache answers."""
        _need(await self._post("/predict", self._chance.choice(self._repeated), JPEG), 200)
        return ANSWERED

    async def stream(self) -> str:
        """Several pictures of one form, answered line by line."""
        files = [("file", (f"{number}.jpg", next(self._distinct), "image/jpeg")) for number in range(STREAMED)]
        answer = await self._client.post("/predict", files=files, headers={"Accept": "application/x-ndjson"})
        *lines, last = map(orjson.loads, _need(answer, 200).content.splitlines())
        if len(lines) != STREAMED or not last.get("done") or last["ok"] != STREAMED:
            raise _Wrong(f"a stream that ended with {last}")
        return ANSWERED

    async def page(self) -> str:
        """Somebody with a browser: the page, its style, a card."""
        _need(await self._client.get("/"), 200)
        _need(await self._client.get("/static/app.css"), 200)
        files = {"file": ("soak.jpg", next(self._distinct), "image/jpeg")}
        _need(await self._client.post("/", files=files, headers={"HX-Request": "true"}), 200)
        return ANSWERED

    async def feedback(self) -> str:
        """Said, and read back."""
        key = {"Idempotency-Key": uuid.uuid4().hex}
        _need(await self._client.post("/feedback", json=FEEDBACK, headers=key), 201)
        _need(await self._client.get("/feedback/", params={"limit": 20}), 200)
        return ANSWERED

    async def zip(self) -> str:
        """A bulk job from its archive to its results; it is removed."""
        with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
            for number in range(ZIPPED):
                archive.writestr(f"{number}.jpg", next(self._distinct))
        made = _need(await self._post("/api/jobs", file.getvalue(), {"Content-Type": "application/zip"}), 202).json()
        job = f"/api/jobs/{made['id']}"
        while (found := _need(await self._client.get(job), 200).json())["status"] not in OVER:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
        _need(await self._client.get(f"{job}/results"), 200)
        _need(await self._client.delete(job, params={"remove": "true"}), 200, 204)
        if (found["status"], found["done"]) != ("done", ZIPPED):
            raise _Wrong(f"a job that was {found['status']} with {found['done']} pictures")
        return ANSWERED

    async def leaver(self) -> str:
        """Hangs up in the middle of the picture, or while it is computed."""
        picture = next(self._distinct)
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        sent = self._chance.choice((len(picture), len(picture) // 2))
        writer.write(_head(len(picture)) + picture[:sent])
        await asyncio.sleep(self._chance.uniform(0, 0.05))
        writer.transport.abort()
        return LEFT

    async def damaged(self) -> str:
        """Cut off, or with bytes that are wrong."""
        picture = bytearray(next(self._distinct))
        if self._chance.random() < 0.5:
            del picture[self._chance.randrange(1, len(picture)) :]
        for _ in range(8):
            picture[self._chance.randrange(len(picture))] = self._chance.randrange(256)
        _need(await self._post("/predict", bytes(picture), JPEG), 200, 415, 422)
        return ANSWERED

    async def oversized(self) -> str:
        """Announces more than is taken, and sends some of it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(_head(OVER_BYTES) + bytes(65_536))
            async with asyncio.timeout(30):
                status = int((await reader.readuntil(b"\r\n\r\n"))[9:12])
        finally:
            writer.transport.abort()
        if status not in (413, 429, 503):
            raise _Wrong(str(status))
        return ANSWERED if status == 413 else REFUSED

    async def _post(self, path: str, body: bytes, headers: dict[str, str]) -> httpx2.Response:
        return await self._client.post(path, content=body, headers=headers)


class _Told(Exception):
    """A refusal that says when to come again."""

    def __init__(self, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s


class _Wrong(Exception):
    """What should not have been answered."""


def _need(answer: httpx2.Response, *good: int) -> httpx2.Response:
    if answer.status_code in (429, 503) and "retry-after" in answer.headers:
        raise _Told(float(answer.headers["retry-after"]))
    if answer.status_code not in good:
        raise _Wrong(str(answer.status_code))
    return answer


def _head(size: int) -> bytes:
    return f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode()
