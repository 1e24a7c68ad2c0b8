"""T16 and T17: each call to the database fails once, be it a statement, a SAVEPOINT or a COMMIT.

A story is told through the HTTP API again and again; the n-th time its n-th call fails, until there is none left to
fail. What is answered with success is stored; all else is a 503 or a 507; and then the story goes well.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import event

from service.app import Glimt
from tests.bulk.workshop import zipped
from tests.world import in_process, make_app, operator, png, signed_in, until

CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY)
MOST_CALLS = 500


class Calls:
    """Counts the calls to the database, and makes one fail."""

    def __init__(self, app: Glimt) -> None:
        self.made = self.fails_at = 0
        self._code = sqlite3.SQLITE_FULL
        database = app.house.database
        for engine in (database._writer.sync_engine, database._reader.sync_engine):
            event.listen(engine, "do_execute", lambda *_: self._call())
            event.listen(engine, "do_executemany", lambda *_: self._call())
            dialect: Any = engine.dialect
            dialect.do_commit = self._before(dialect.do_commit)

    def fail(self, number: int, code: int) -> None:
        """The call with this number from now on; 0 is none."""
        self.made, self.fails_at, self._code = 0, number, code

    def _before(self, commit: Callable[[Any], None]) -> Callable[[Any], None]:
        def counted(connection: Any) -> None:
            self._call()
            commit(connection)

        return counted

    def _call(self) -> None:
        self.made += 1
        if self.made == self.fails_at:
            error = sqlite3.OperationalError("made to fail")
            error.sqlite_errorcode = self._code
            raise error


@dataclass
class Teller:
    """Tells a story to the app, and looks after each answer whether it is true."""

    app: Glimt
    client: httpx2.AsyncClient
    folder: Path
    headers: dict[str, str]
    number: int = 0
    failures: int = 0

    async def ask(self, method: str, path: str, stored: Callable[[], bool] = lambda: True, **more: Any) -> Any:
        """The document, or None when it failed. `stored` tells whether the database is as success would say."""
        more["headers"] = self.headers | more.get("headers", {})
        answer = await self.client.request(method, path, **more)
        if answer.is_success:
            assert stored(), f"{method} {path} was answered with {answer.status_code} and is not stored"
            return answer.json() if answer.content else {}
        assert answer.status_code in (503, 507), answer.text
        assert answer.status_code == 507 or "retry-after" in answer.headers
        self.failures += 1
        return None

    def has(self, query: str, *values: object) -> bool:
        """Whether there is such a row, seen from outside."""
        with closing(sqlite3.connect(self.folder / "glimt.db")) as database:
            return database.execute(query, values).fetchone() is not None


async def feedback(tell: Teller) -> None:
    """Said twice with one key, listed, taken back."""
    row = "SELECT 1 FROM feedback WHERE image_file_name = ?"
    name = f"{tell.number}.png"
    said = {"score": 0.5, "predicted_class": "x", "image_file_name": name, "verdict": "right"}
    found = None
    for _ in range(2):
        again = {"idempotency-key": name}
        found = await tell.ask("POST", "/feedback", lambda: tell.has(row, name), json=said, headers=again) or found
    await tell.ask("GET", "/feedback")
    if found:
        await tell.ask("DELETE", f"/feedback/{found['id']}", lambda: not tell.has(row, name))


async def history(tell: Teller) -> None:
    """An answer, which does not wait for its row; the list, which does; deleted one by one."""
    await tell.ask("POST", "/predict", content=png(tell.number), headers={"content-type": "image/png"})
    for row in await tell.ask("GET", "/api/history") or ():
        number = row["id"]
        gone = lambda number=number: not tell.has("SELECT 1 FROM predictions WHERE id = ?", number)  # noqa: E731
        await tell.ask("DELETE", f"/api/history/{number}", gone)


async def accounts(tell: Teller) -> None:
    """Made by an admin, made an admin too, read, listed, deleted with all that was theirs."""
    local: dict[str, Any] = {"headers": operator(tell.folder)}
    email = f"user{tell.number}@example.org"
    row = "SELECT 1 FROM users WHERE email = ?"
    new = {"name": "Somebody", "email": email, "password": "correct horse"}
    made = await tell.ask("POST", "/user/", lambda: tell.has(row, email), json=new, **local)
    if made is None:
        return
    path = f"/user/{made['id']}"
    promoted = f"{row} AND role = 'admin'"
    await tell.ask("PATCH", path, lambda: tell.has(promoted, email), json={"role": "admin"}, **local)
    await tell.ask("GET", "/user/", **local)
    await tell.ask("DELETE", path, lambda: not tell.has(row, email), **local)


async def tokens(tell: Teller) -> None:
    """Made, used, listed, revoked."""
    row, name = "SELECT 1 FROM tokens WHERE name = ?", f"token {tell.number}"
    made = await tell.ask("POST", "/api/tokens", lambda: tell.has(row, name), json={"name": name})
    if made is None:
        return
    await tell.ask("GET", "/api/me", headers={"authorization": f"Bearer {made['token']}"})
    await tell.ask("GET", "/api/tokens")
    await tell.ask("DELETE", f"/api/tokens/{made['id']}", lambda: not tell.has(row, name))


async def jobs(tell: Teller) -> None:
    """An archive, which is worked on to its end whatever happens; its answers; removed."""
    archive = zipped([(f"{number}.png", png(number)) for number in range(3)])
    row = "SELECT 1 FROM jobs WHERE id = ?"
    made = await tell.ask("POST", "/api/jobs", content=archive, headers={"content-type": "application/zip"})
    if made is None:
        return
    number = made["id"]
    assert tell.has(row, number)
    await until(lambda: tell.app.house.bulk.progress(number) is None)
    assert tell.has(f"{row} AND status = 'done' AND total = 3 AND done = 3", number)
    path = f"/api/jobs/{number}"
    await tell.ask("GET", path)
    found = await tell.ask("GET", f"{path}/items")
    assert found is None or len(found) == 3
    await tell.ask("DELETE", f"{path}?remove=true", lambda: not tell.has(row, number))


@asynccontextmanager
async def telling(folder: Path) -> AsyncIterator[tuple[Teller, Calls]]:
    app = make_app(folder, max_jobs=1000)
    app.house.bulk._work._retry_s = 0.001
    async with in_process(app) as client:
        yield Teller(app, client, folder, await signed_in(app, role="admin")), Calls(app)


def at_rest(app: Glimt) -> tuple[int, int, int]:
    """What a failure must not leave behind: writes in the queue, connections in use, tasks."""
    database = app.house.database
    pools: list[Any] = [engine.sync_engine.pool for engine in (database._writer, database._reader)]
    return database.stats().waiting, sum(pool.checkedout() for pool in pools), len(asyncio.all_tasks())


async def settled(app: Glimt) -> tuple[int, int, int]:
    """`at_rest`, once what the last answer left to be tidied up is done: the least of some looks."""
    looks = [at_rest(app)]
    for _ in range(20):
        await asyncio.sleep(0.01)
        looks.append(at_rest(app))
    return min(looks)


@pytest.mark.parametrize("story", [feedback, history, accounts, tokens, jobs])
async def test_every_call_fails_once(tmp_path: Path, story: Callable[[Teller], Awaitable[None]]) -> None:
    """Nothing is answered that is not so, nothing is left behind, and the next try goes well."""
    async with telling(tmp_path) as (tell, calls):
        await story(tell)
        rest = await settled(tell.app)
        for number in range(1, MOST_CALLS):
            tell.number = number
            calls.fail(number, CODES[number % 2])
            await story(tell)
            if calls.made < number:
                break
            calls.fail(0, sqlite3.SQLITE_OK)
            seen, tell.failures = tell.failures, 0
            tell.number = -number
            await story(tell)
            assert tell.failures == 0, f"after call {number} had failed ({seen} answers with it) the next try failed"
            await until(lambda: at_rest(tell.app) == rest)
        else:
            pytest.fail("the story has no end")
        print(f"{story.__name__}: {number - 1} calls")
        assert number > 5
