"""A client of reference system A in front of the whole app."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from service.app import Glimt
from tests.fakes import GatedEngine
from tests.world import in_process, make_app, png

ADMIN = {"username": "admin@example.com", "password": "admin"}
ADA = {"name": "Ada", "email": "ada@example.org", "password": "correct horse"}
PICTURE = png(1)


class ReferenceClient(NamedTuple):
    """The app with the demo account, a client of it, and the engine behind."""

    app: Glimt
    client: httpx2.AsyncClient
    engine: GatedEngine

    async def login(self, **form: str) -> httpx2.Response:
        return await self.client.post("/login", data=form)

    async def bearer(self, username: str = ADMIN["username"], password: str = ADMIN["password"]) -> dict[str, str]:
        answer = await self.login(username=username, password=password)
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    async def register(self, **changes: str) -> dict[str, Any]:
        answer = await self.client.post("/user/", json=ADA | changes)
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created

    async def predict(
        self, data: bytes = PICTURE, name: str = "dog.png", headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        """As the admin, unless other headers are given."""
        headers = await self.bearer() if headers is None else headers
        return await self.client.post("/model/predict", files={"file": (name, data, "image/png")}, headers=headers)


@asynccontextmanager
async def a_reference_client(
    folder: Path, *, demo_account: bool = True, **changes: Any
) -> AsyncIterator[ReferenceClient]:
    """The app with its data in `folder`, and the demo account in it."""
    engine = GatedEngine()
    app = make_app(folder, engine, demo_account=demo_account, **changes)
    async with in_process(app) as client:
        yield ReferenceClient(app, client, engine)
