"""How many connections there may be, and that the service keeps files for itself."""

import resource
from pathlib import Path

import httpx2
import pytest

from service import connections
from service.connections import MOST_FILES, OWN_FILES, most_connections, raise_open_files
from tests.world import make_app, under_uvicorn


class Limits:
    """The process's limit on open files, played."""

    def __init__(self, now: int, most: int) -> None:
        self.now, self.most = now, most

    def get(self, _what: int) -> tuple[int, int]:
        return self.now, self.most

    def set(self, _what: int, limits: tuple[int, int]) -> None:
        self.now, self.most = limits


@pytest.mark.parametrize(
    ("now", "most", "then"),
    [
        (1024, 20_000, 20_000),
        (1024, 1_048_576, MOST_FILES),
        (1024, resource.RLIM_INFINITY, MOST_FILES),
        (1024, 1024, 1024),
        (1_048_576, 1_048_576, 1_048_576),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY),
    ],
)
def test_the_limit_is_raised(monkeypatch: pytest.MonkeyPatch, now: int, most: int, then: int) -> None:
    """1,100 idle connections stopped the service at the usual limit of 1,024, where 20,000 were to be had. It is never
    lowered."""
    limits = Limits(now, most)
    monkeypatch.setattr(resource, "getrlimit", limits.get)
    monkeypatch.setattr(resource, "setrlimit", limits.set)
    raise_open_files()
    assert (limits.now, limits.most) == (then, most)


def test_a_system_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS says infinity and means less: the service starts all the same."""

    def refuse(_what: int, _limits: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", Limits(256, resource.RLIM_INFINITY).get)
    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_open_files()


@pytest.mark.parametrize(
    ("files", "most"),
    [(20_000, 20_000 - OWN_FILES), (1024, 768), (256, 128), (resource.RLIM_INFINITY, MOST_FILES)],
)
def test_files_are_left_for_the_service(monkeypatch: pytest.MonkeyPatch, files: int, most: int) -> None:
    """Not all may be connections."""
    monkeypatch.setattr(resource, "getrlimit", Limits(files, files).get)
    assert most_connections() == most


async def test_one_too_many_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle connections took every file, so that the model could not be loaded and the process ended. Now the newcomer
    is refused at once, those who are there stay, and there is a place again when one leaves."""
    monkeypatch.setattr(connections, "most_connections", lambda: 2)
    async with under_uvicorn(make_app(tmp_path)) as port:
        url = f"http://127.0.0.1:{port}/healthz"
        async with httpx2.AsyncClient() as first:
            assert (await first.get(url)).status_code == 200
            async with httpx2.AsyncClient() as second, httpx2.AsyncClient() as third:
                assert (await second.get(url)).status_code == 200
                with pytest.raises(httpx2.TransportError):
                    await third.get(url)
                assert (await first.get(url)).status_code == 200
            async with httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(retries=3)) as fourth:
                assert (await fourth.get(url)).status_code == 200
