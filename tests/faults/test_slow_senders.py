"""T4: many slow bodies of one client do not shut out the others."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from service.inference import senders
from service.settings import Settings
from tests.faults.raw import head, post, raw
from tests.world import make_app, png, under_uvicorn, until


@pytest.mark.parametrize("size", [10_000, 900_000])
async def test_t4_slow_bodies_of_one_client_leave_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """They took all the places, or all the bytes, for as long as they went on; now who is over half is told so."""
    monkeypatch.setattr(senders, "SLOW_S", 0.1)
    app = make_app(tmp_path, max_pending=8, max_image_bytes=1_000_000, max_pending_bytes=4_000_000)
    patient = Settings(port=0, grace_s=5, body_timeout_s=1000)
    count = 8 if size < 500_000 else 4
    async with under_uvicorn(app, patient) as port, AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(raw(port)) for _ in range(count)]
        for one in slow:
            await one.send(head("/predict", f"Content-Length: {size}") + b"x")
        await until(lambda: app.house.classifier.admitted == count)
        await until(lambda: app.house.classifier.admitted == count // 2)
        async with raw(port) as other:
            await other.send(post(png(1)))
            assert (await other.answer()).status == 200
        given_up = slow[-1]
        answer = await given_up.answer()
        assert (answer.status, answer.code) == (503, "overloaded")
        assert b"from your address" in answer.body
