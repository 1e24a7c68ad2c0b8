"""A job at a service that goes away and comes back: what may be asked twice is, and the words say what happened."""

import io
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service import remote_job
from service.app import Glimt
from service.errors import Unavailable
from service.remote_job import RemoteJob
from tests.world import in_process, make_app, png


class Flaky(httpx2.AsyncBaseTransport):
    """The app, whose connections break for the first request that `breaks` names by method and end of path."""

    def __init__(self, app: Glimt, *breaks: tuple[str, str]) -> None:
        self._app = httpx2.ASGITransport(app)
        self._breaks = list(breaks)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        for method, end in self._breaks:
            if request.method == method and request.url.path.endswith(end):
                self._breaks.remove((method, end))
                raise httpx2.ConnectError("refused")
        return await self._app.handle_async_request(request)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Of one picture."""
    with zipfile.ZipFile(data := io.BytesIO(), "w") as file:
        file.writestr("a.png", png(1))
    path = tmp_path / "a.zip"
    path.write_bytes(data.getvalue())
    return path


async def answers(
    app: Glimt, archive: Path, monkeypatch: pytest.MonkeyPatch, *breaks: tuple[str, str]
) -> list[dict[str, Any]]:
    """What the job says over such connections."""
    transport = Flaky(app, *breaks)
    monkeypatch.setattr(remote_job, "AGAIN_S", 0)
    monkeypatch.setattr(
        RemoteJob, "_client", lambda self: httpx2.AsyncClient(transport=transport, base_url="http://localhost")
    )
    return [line async for line in RemoteJob("http://localhost", lambda: "").answers(archive, lambda *_: None)]


async def test_a_service_that_starts_anew(tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, one broken connection while watching ended the command and left the job behind."""
    app = make_app(tmp_path / "data")
    async with in_process(app) as client:
        lines = await answers(app, archive, monkeypatch, ("GET", "/1"), ("DELETE", "/1"))
        assert [line["name"] for line in lines] == ["a.png"]
        assert (await client.get("/api/jobs")).json() == []


@pytest.mark.parametrize("broken", [("POST", "/jobs"), ("GET", "/results")])
async def test_what_is_not_asked_twice_is_said(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, broken: tuple[str, str]
) -> None:
    """An archive is not sent twice, and lines that were printed are not printed again; no job is left behind."""
    app = make_app(tmp_path / "data")
    async with in_process(app) as client:
        with pytest.raises(Unavailable, match="cannot be reached: refused"):
            await answers(app, archive, monkeypatch, broken)
        assert (await client.get("/api/jobs")).json() == []
