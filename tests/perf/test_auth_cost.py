"""perf/auth_cost.py: its credentials at the real service, its arithmetic on given rates."""

import asyncio
from pathlib import Path

import httpx2
import pytest

from perf import auth_cost
from perf.auth_cost import EMAIL, authorizations, measure, parse, rate
from perf.clients import ANSWERED, Asked
from service.tuning.pictures import Distinct
from tests.world import make_app, under_uvicorn

PICTURES = Distinct([b"picture"])


async def test_each_kind_signs_in(tmp_path: Path) -> None:
    """As the same account, also where an earlier run has made it; three headers, no two alike."""
    async with under_uvicorn(make_app(tmp_path)) as port, httpx2.AsyncClient() as client:
        await asyncio.to_thread(authorizations, port)
        kinds = await asyncio.to_thread(authorizations, port)
        for header in kinds.values():
            me = await client.get(f"http://127.0.0.1:{port}/api/me", headers={"authorization": header})
            assert me.json()["email"] == EMAIL
    assert len({*kinds.values()}) == 3


def test_each_kind_is_compared_with_nobody_before_and_after(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a machine that slows down all the while the mean of both is taken."""
    rates = iter([10.0, 9.0, 8.0, 7.0, 6.0])
    monkeypatch.setattr(auth_cost, "authorizations", lambda port: {"JWT": "Bearer a", "Basic": "Basic b"})
    monkeypatch.setattr(auth_cost, "rate", lambda *_: next(rates))
    measure(parse(["--rounds", "1"]), PICTURES, 8000)
    said = capsys.readouterr().out
    assert "JWT               9.00 pictures/s, nobody 10.00 / 8.00" in said
    assert "JWT             median ratio 1.000 of [1.0]" in said
    assert "Basic             7.00 pictures/s, nobody 8.00 / 6.00" in said


def test_a_request_that_fails_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate of which a part was refused would be no rate."""
    asked = [Asked(1.0, 0.1, ANSWERED), Asked(2.0, 0.1, "401")]
    monkeypatch.setattr(auth_cost, "closed_loop", lambda *_: asked)
    with pytest.raises(SystemExit, match="401"):
        rate(8000, 1, PICTURES, 1.0)
