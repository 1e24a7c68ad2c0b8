"""T14: kill -9 during feedback writes. What was acknowledged is there, exactly once."""

import asyncio
import os
import random
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx2
import pytest

KILLS = 100
CLIENTS = 8
LONGEST_LIFE_S = 0.15
"""Counted from the first byte the process could take, or, in four lives of five, from its first answer: some end during
the start, most among the writes, on a slow machine too."""


class Ledger:
    """What the clients know: which key was acknowledged with which row, and which must be tried again."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, int] = {}
        self.unanswered: list[str] = []
        self.repeats = 0
        self.answered = asyncio.Event()
        self._made = 0

    def next_key(self) -> str:
        if self.unanswered:
            return self.unanswered.pop()
        self._made += 1
        return f"key-{self._made}"


async def post(client: httpx2.AsyncClient, key: str) -> httpx2.Response:
    content = {"score": 0.5, "predicted_class": "cat", "image_file_name": f"{key}.png", "feedback": key * 20}
    return await client.post("/feedback", json=content, headers={"Idempotency-Key": key})


async def write_until_it_dies(client: httpx2.AsyncClient, ledger: Ledger) -> None:
    while True:
        key = ledger.next_key()
        try:
            answer = await post(client, key)
        except httpx2.TransportError:
            ledger.unanswered.append(key)
            return
        assert answer.status_code in (200, 201), answer.text
        ledger.repeats += answer.status_code == 200
        ledger.acknowledged[key] = answer.json()["id"]
        ledger.answered.set()


async def told(service: Process) -> str:
    assert service.stdout is not None
    return (await service.stdout.readline()).decode().strip()


@asynccontextmanager
async def life(service: Process) -> AsyncIterator[tuple[httpx2.AsyncClient, int]]:
    assert service.stdin is not None
    service.stdin.write(b"live\n")
    port, pid = map(int, (await told(service)).split())
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield client, pid
    assert await told(service) == "dead"


def check(path: Path, ledger: Ledger) -> None:
    if not path.exists():
        assert not ledger.acknowledged
        return
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not ledger.acknowledged:
            return  # the process may have died before there was a table
        rows = connection.execute("SELECT idempotency_key, id FROM feedback").fetchall()
    stored = dict(rows)
    assert len(stored) == len(rows), "a key is stored twice"
    assert ledger.acknowledged.items() <= stored.items(), "an acknowledged row is missing or another"


@pytest.mark.slow
async def test_every_acknowledged_row_survives_a_hundred_kills_exactly_once(tmp_path: Path) -> None:
    """Eight clients write, the process is killed 100 times at random moments, they retry with the same keys.

    After every kill the file is sound and holds each acknowledged row once; at the end every key has one row.
    """
    chance = random.Random(14)
    ledger = Ledger()
    service = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("feedback_service.py")), str(tmp_path),
        stdin=PIPE, stdout=PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        for number in range(KILLS):
            ledger.answered.clear()
            async with life(service) as (client, pid), asyncio.TaskGroup() as group:
                for _ in range(CLIENTS):
                    group.create_task(write_until_it_dies(client, ledger))
                if number % 5:
                    await ledger.answered.wait()
                await asyncio.sleep(chance.uniform(0, LONGEST_LIFE_S))
                os.kill(pid, signal.SIGKILL)
            check(tmp_path / "glimt.db", ledger)
        async with life(service) as (client, pid):
            for key in ledger.unanswered:
                ledger.acknowledged[key] = (await post(client, key)).json()["id"]
            os.kill(pid, signal.SIGKILL)
        check(tmp_path / "glimt.db", ledger)
    finally:
        if service.stdin is not None:
            service.stdin.close()
        await service.wait()
    print(f"{len(ledger.acknowledged)} rows acknowledged, {ledger.repeats} found stored but unanswered before")
    assert len(ledger.acknowledged) > KILLS
    assert ledger.repeats > 0, "no kill hit between COMMIT and the answer: the test has lost its teeth"
