"""T11: the process crashes under load, as native code does. What was promised is there when it starts again."""

import asyncio
import os
import signal
from pathlib import Path

import orjson
import pytest

from tests.bulk.workshop import zipped
from tests.faults.lives import Life, answer, connection, feedback, over, picture, post, services, sound
from tests.world import png

PICTURES = 300


async def job(life: Life) -> dict[str, object]:
    """The first bulk job, as the service tells of it."""
    async with connection(life) as (reader, writer):
        writer.write(b"GET /api/jobs/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        status, body = await answer(reader)
        assert status == 200
        document: dict[str, object] = orjson.loads(body)
        return document


@pytest.mark.slow
async def test_a_crash_under_load(tmp_path: Path) -> None:
    """SIGSEGV amid pictures, feedback and a bulk job. The next start goes on with the job, which counts each picture
    once; all feedback that was acknowledged is there."""
    acknowledged: set[str] = set()
    async with services(tmp_path) as service:
        life = Life(service)
        await life.begin()
        async with connection(life) as (reader, writer):
            archive = zipped([(f"{number}.png", png(number)) for number in range(PICTURES)])
            assert await post(reader, writer, "job", "/api/jobs", archive) == 202
        async with asyncio.TaskGroup() as group:
            for client in range(8):
                group.create_task(feedback(life, client, acknowledged))
            pictures = asyncio.gather(*(picture(life, number) for number in range(50)), return_exceptions=True)
            await life.listen(lambda life: len(life.took) >= 200)
            os.kill(life.pid, signal.SIGSEGV)
            await life.listen(over)
            await pictures
        assert life.end == -signal.SIGSEGV
        assert acknowledged
        assert acknowledged <= sound(tmp_path)
        life = Life(service)
        await life.begin()
        async with asyncio.timeout(60):
            while (found := await job(life))["status"] != "done":  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.02)
        os.kill(life.pid, signal.SIGTERM)
        await life.listen(over)
    assert (found["total"], found["done"], found["failed"]) == (PICTURES, PICTURES, 0)
