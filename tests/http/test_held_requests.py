"""A request whose body is held back while accounts change: who sends it is asked again before more of it is read."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from service.app import Glimt
from service.store.feedback import FeedbackStore
from tests.world import PASSWORD, in_process, make_app, png, signed_in


class Held:
    """A body of which the first piece is sent, and the rest when `let_go` is set."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self.arrived = asyncio.Event()
        self.let_go = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._pieces[0]
        self.arrived.set()
        await self.let_go.wait()
        for piece in self._pieces[1:]:
            yield piece


def in_two(document: dict[str, Any]) -> Held:
    """JSON, held back after its first byte."""
    text = orjson.dumps(document)
    return Held(text[:1], text[1:])


async def held(client: httpx2.AsyncClient, path: str, body: Held, headers: dict[str, str]) -> Any:
    """A POST under way: (the task of its answer)."""
    kind = {"content-type": "application/json"}
    task = asyncio.create_task(client.post(path, content=body, headers=kind | headers))
    await body.arrived.wait()
    return task


NEW_ADMIN = {"name": "Eve", "email": "eve@example.org", "password": PASSWORD, "role": "admin"}
NOTE = {"score": 0.5, "predicted_class": "cat", "image_file_name": "a.png", "feedback": "no"}


@pytest.fixture
def app(tmp_path: Path) -> Glimt:
    return make_app(tmp_path)


async def test_a_demoted_admin_makes_no_admin(app: Glimt) -> None:
    """Once, a request that began before the demotion made one minutes after it."""
    async with in_process(app) as client:
        await signed_in(app, "root", "admin")
        eve = await signed_in(app, "mallory", "admin")
        body = in_two(NEW_ADMIN)
        answer = await held(client, "/user/", body, eve)
        await app.house.accounts.set_role(2, "user")
        body.let_go.set()
        assert (await answer).status_code == 403


async def test_a_deleted_account_leaves_no_feedback(app: Glimt) -> None:
    """Once, a row stayed that nobody could reach any more."""
    async with in_process(app) as client:
        ada = await signed_in(app)
        body = in_two(NOTE)
        answer = await held(client, "/feedback/", body, ada)
        assert (await client.delete("/api/me", headers=ada)).status_code == 204
        body.let_go.set()
        assert (await answer).status_code == 401
        assert await FeedbackStore(app.house.database).list("1") == ()


async def test_a_revoked_token_makes_no_other(app: Glimt) -> None:
    """Once, a stolen token that its owner revoked had a successor."""
    async with in_process(app) as client:
        ada = await signed_in(app)
        stolen = (await client.post("/api/tokens", json={"name": "a"}, headers=ada)).json()
        body = in_two({"name": "b"})
        answer = await held(client, "/api/tokens", body, {"authorization": f"Bearer {stolen['token']}"})
        await client.delete(f"/api/tokens/{stolen['id']}", headers=ada)
        body.let_go.set()
        assert (await answer).status_code == 401
        assert (await client.get("/api/tokens", headers=ada)).json() == []


async def test_a_stream_ends_with_its_token(app: Glimt) -> None:
    """Once, an endless stream was answered for as long as it liked; now the last line says why it ends."""
    async with in_process(app) as client:
        ada = await signed_in(app)
        made = (await client.post("/api/tokens", json={"name": "a"}, headers=ada)).json()
        part = b'Content-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        body = Held(b"--x\r\n" + part + png(1) + b"\r\n--x\r\n" + part, png(2) + b"\r\n--x--\r\n")
        headers = {"authorization": f"Bearer {made['token']}", "accept": "application/x-ndjson"}
        headers |= {"content-type": "multipart/form-data; boundary=x"}
        answer = await held(client, "/predict", body, headers)
        await client.delete(f"/api/tokens/{made['id']}", headers=ada)
        body.let_go.set()
        last = orjson.loads((await answer).content.splitlines()[-1])
    assert (last["done"], last["code"]) == (False, "unauthorized")


async def test_others_go_on(app: Glimt) -> None:
    """A change of somebody else's account costs a held request nothing."""
    async with in_process(app) as client:
        ada = await signed_in(app)
        await signed_in(app, "grace")
        body = in_two(NOTE)
        answer = await held(client, "/feedback/", body, ada)
        await app.house.accounts.reset_password(2)
        body.let_go.set()
        assert (await answer).status_code == 201


async def test_what_is_for_somebody_is_not_kept(app: Glimt) -> None:
    """Behind the back button after signing out there is nothing; what everybody may see says nothing of it."""
    async with in_process(app) as client:
        ada = await signed_in(app)
        assert (await client.get("/", headers=ada)).headers["cache-control"] == "no-store"
        assert "cache-control" not in (await client.get("/")).headers
