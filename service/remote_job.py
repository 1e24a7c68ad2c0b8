"""An archive as a job of a running service, for `glimt classify`: sent, watched, its answers fetched, and removed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import orjson

from service.credentials import Bearer, is_loopback, refused
from service.errors import BadRequest, Unavailable

CHUNK_BYTES = 256 * 1024
ASK_S = 0.5
AGAIN_S = 1.0
TRIES = 120
"""Of a service that has no place for another job, or cannot be reached in between."""
OVER = ("done", "failed", "cancelled")

Document = dict[str, Any]
Told = Callable[[str, int, int | None], None]
"""What is being done, how far it is, and of how much."""


class RemoteJob:
    """One archive at the service at `url`. Raises OSError, BadRequest, Forbidden, Unavailable."""

    def __init__(self, url: str, key: Bearer) -> None:
        self._url = url
        self._key = key

    async def answers(self, path: Path, told: Told) -> AsyncIterator[Document]:
        """What became of each entry, in the archive's order, once all are answered. Left early, the job is removed."""
        async with self._client() as client, self._job(client, path, told) as job:
            while job["status"] not in OVER:
                told(job["paused"] or "classifying", job["done"] + job["failed"] + job["skipped"], job["total"])
                await asyncio.sleep(ASK_S)
                job = await self._ask(client, "GET", f"/api/jobs/{job['id']}")
            if job["status"] != "done":
                said = job["error"] or {"detail": "Somebody cancelled the job."}
                raise BadRequest(f"{path}: {said['detail']}")
            address = f"/api/jobs/{job['id']}/results?format=ndjson"
            try:
                async with client.stream("GET", address, headers=self._headers()) as reply:
                    if not reply.is_success:
                        raise self._refusal(reply, orjson.loads(await reply.aread()))
                    async for line in reply.aiter_lines():
                        yield orjson.loads(line)
            except httpx2.TransportError as error:
                raise self._lost(error) from error

    @asynccontextmanager
    async def _job(self, client: httpx2.AsyncClient, path: Path, told: Told) -> AsyncIterator[Document]:
        size = (await asyncio.to_thread(path.stat)).st_size
        job = await self._ask(
            client,
            "POST",
            "/api/jobs",
            params={"name": path.name[-255:]},
            body=lambda: _chunks(path, lambda sent: told("sending", sent, size)),
            headers={"Content-Type": "application/zip", "Content-Length": str(size)},
        )
        try:
            yield job
        finally:  # it was made for this command alone
            with suppress(BadRequest, Unavailable, httpx2.TransportError):
                await self._ask(client, "DELETE", f"/api/jobs/{job['id']}", params={"remove": "true"}, tries=3)

    async def _ask(
        self,
        client: httpx2.AsyncClient,
        method: str,
        address: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Callable[[], AsyncIterator[bytes]] | None = None,
        headers: Mapping[str, str] | None = None,
        tries: int = TRIES,
    ) -> Document:
        """The answer's document, {} without one. What is refused for now is asked again, and after a broken connection
        what may be asked twice: the service may be starting anew, and the job goes on with it."""
        for attempt in range(tries):
            last = attempt == tries - 1
            content = body() if body else None
            try:
                reply = await client.request(
                    method, address, params=params, content=content, headers={**self._headers(), **(headers or {})}
                )
            except httpx2.TransportError as error:
                if last or method == "POST":
                    raise self._lost(error) from error
                await asyncio.sleep(AGAIN_S)
                continue
            if reply.status_code not in (429, 503) or last:
                break
            told_s = reply.headers.get("Retry-After", "")
            await asyncio.sleep(min(float(told_s), 30) if told_s.isdecimal() else AGAIN_S)
        try:
            document = orjson.loads(reply.content) if reply.content else {}
        except orjson.JSONDecodeError as error:
            raise BadRequest(f"What answers at {self._url} ({reply.status_code}) is not Glimt: no JSON.") from error
        if not reply.is_success:
            raise self._refusal(reply, document)
        return dict(document)

    def _lost(self, error: httpx2.TransportError) -> Unavailable:
        return Unavailable(f"The service at {self._url} cannot be reached: {error or type(error).__name__}.")

    def _refusal(self, reply: httpx2.Response, document: Document) -> Exception:
        if reply.status_code in (401, 403):
            return refused(self._url, reply.status_code, str(document.get("detail", "")))
        if "code" not in document:
            return BadRequest(f"What answers at {self._url} ({reply.status_code}) is not Glimt, or has no bulk jobs.")
        return BadRequest(f"The service at {self._url}: {document.get('detail')}")

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key()}"} if self._key() else {}

    def _client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self._url, timeout=60, trust_env=not is_loopback(self._url))


async def _chunks(path: Path, told: Callable[[int], None]) -> AsyncIterator[bytes]:
    sent = 0
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
            sent += len(chunk)
            told(sent)
