"""Who may do what: every route of the real app x who asks x both modes, asked for real (T37).

Ada owns an object of each kind; the others ask for hers. A new route is in the matrix by itself. If its path names an
object that is not known here, the test fails until somebody says what of Ada's it is.
"""

import asyncio
import io
import itertools
import re
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from starlette.routing import Mount

from service.app import Glimt
from service.http.access import NO_ACCOUNT, SESSION_COOKIE, Access, Door
from service.models.registry import Registry
from service.store.feedback import FeedbackStore
from service.store.history import HistoryStore
from service.store.jobs import JobStore
from service.store.users import Role, User, UserStore
from tests.accounts.desk import UNHASHED
from tests.models.shelf import put
from tests.world import CLASSES, in_process, make_app, operator, png

Who = Literal["anybody", "ada", "bob", "boss", "key"]
ADMINS = ("boss", "key")
SAID = {"score": 0.5, "predicted_class": "cat", "image_file_name": "a.png", "feedback": "no"}
SIGN_UP = ("/user/", "/sign-up")
"""Closed where login is required: 403 for programs, nothing there for people."""
SAYS_NOTHING = {
    "/cards/feedback/{id:id}/undo",
    "/account/tokens/{token_id:id}/revoke",
    "/account/sessions/{token_id:id}/end",
    "/history/{row_id:id}/delete",
    "/review/{id:id}/undo",
}
"""Forms for which twice is once: whoever sends one for what is not theirs gets the usual page, and changes nothing."""
NO_STAMP = "20260101-000000-000000"
"""Of a dataset or a run, which are everybody's who may see them at all; there is none of it here."""
DECIDED = {
    Access.PUBLIC: r"GET /(health|healthz|readyz|health-light)|POST /(user/|login|sign-out)|[A-Z]+ /sign-(in|up)",
    Access.GUEST: r"[A-Z]+ /(cards/.*|feedback.*|api/jobs.*)?|POST /(predict|api/explain|jobs(/\{.*)?)|GET /(labels|"
    r"jobs.*|metrics|openapi\.json|docs|ops.*|api/(models(/\{ref:ref\}(/compare)?)?|trial|batching))",
    Access.USER: r"[A-Z]+ /(api/(me|tokens|history)|history|account)(/.*)?|POST /model/predict|"
    r"(GET|DELETE) /user/\{user_id:id\}",
}
"""Whom each door lets in: the table once more, so that a slip in it does not make itself right. All others are for
admins."""
_numbers = itertools.count()


def decided(door: Door) -> Access:
    """Whom this door is to let in."""
    asked = f"{_method(door)} {door.path}"
    return next((access for access, doors in DECIDED.items() if re.fullmatch(doors, asked)), Access.ADMIN)


def _method(door: Door) -> str:
    return min(door.methods or ())


@dataclass(frozen=True)
class Ada:
    """An account with an object of each kind, by what routes call it."""

    user: User
    headers: dict[str, str]
    feedback: int
    row: int
    token: int
    session: int
    job: int | None
    model: str | None  # nobody's own: what is served is everybody's

    def named(self, path: str) -> str:
        """The path with Ada's object in it. Fails for one that is not known here."""
        objects = {
            "{user_id:id}": self.user.id,
            "{id:id}": self.feedback,
            "{feedback_id:id}": self.feedback,
            "{row_id:id}": self.row,
            "{token_id:id}": self.session if "/sessions/" in path else self.token,
            "{job_id:id}": self.job,
            "{position:id}": 0,
            "{ref:ref}": self.model,
            "{dataset:stamp}": NO_STAMP,
            "{run:stamp}": NO_STAMP,
            "{index:id}": 0,
            "{sheet}": "map-1",
            "{sha256:sha256}": "0" * 64,
        }
        for name, value in objects.items():
            path = path.replace(name, str(value))
        if "{" in path:
            pytest.fail(f"{path} names an object that this test does not know: give Ada one.")
        return path


class World:
    """The app in one mode, and whoever asks it."""

    def __init__(self, app: Glimt, folder: Path, client: httpx2.AsyncClient, required: bool) -> None:
        self.app = app
        self.doors = [route for route in app.routes if isinstance(route, Door)]
        self._folder = folder
        self._key = operator(folder)
        self._client = client
        self._required = required
        self._accounts = app.house.accounts
        self._users = UserStore(app.house.database)

    async def add(self, role: Role = "user") -> User:
        """An account that can sign in by what it is given, and has no password."""
        number = next(_numbers)
        return await self._users.add(email=f"{number}@example.org", name="Somebody", password_hash=UNHASHED, role=role)

    def bearer(self, user: User) -> dict[str, str]:
        """Headers that show who this is."""
        return {"authorization": f"Bearer {self._accounts.token_for(user)}"}

    async def ada(self, *, with_job: bool, with_model: bool) -> Ada:
        """A new one."""
        user = await self.add()
        headers = self.bearer(user)
        await self._ask("POST", "/predict", headers, files={"file": ("a.png", png(user.id))})
        row = (await self._ask("GET", "/api/history", headers)).json()[0]
        feedback = (await self._ask("POST", "/feedback", headers, json=SAID)).json()
        token = (await self._ask("POST", "/api/tokens", headers, json={"name": "a script"})).json()
        await self._accounts.open_session(user, "a browser", None)
        session = (await self._accounts.sessions(user.id))[0]
        job = await self._job(headers) if with_job else None
        model = put(Registry(self._folder), content=b"%d" % user.id, classes=CLASSES).ref if with_model else None
        return Ada(user, headers, feedback["id"], row["id"], token["id"], session.id, job, model)

    async def _job(self, headers: dict[str, str]) -> int:
        """A job that is over, of one picture."""
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("a.png", png(1))
        kind = {"content-type": "application/zip"}
        made = await self._ask("POST", "/api/jobs", headers | kind, content=archive.getvalue())
        number: int = made.json()["id"]
        async with asyncio.timeout(20):
            while (await self._ask("GET", f"/api/jobs/{number}", headers)).json()["status"] != "done":  # noqa: ASYNC110
                await asyncio.sleep(0.005)  # until another task is done with it
        return number

    async def _ask(self, method: str, path: str, headers: dict[str, str], **content: Any) -> httpx2.Response:
        answer = await self._client.request(method, path, headers=headers, **content)
        assert answer.is_success, answer.text
        return answer

    async def has_all(self, ada: Ada) -> bool:
        """Whether everything of Ada's is still there, and she is who she was."""
        db, user = self.app.house.database, ada.user
        return (
            await self._users.get(user.id) == user
            and await FeedbackStore(db).get(ada.feedback, user.owner) is not None
            and [token.id for token in await self._accounts.tokens(user.id)] == [ada.token]
            and [session.id for session in await self._accounts.sessions(user.id)] == [ada.session]
            and await HistoryStore(db).get(ada.row, user.id) is not None
            and (ada.job is None or await JobStore(db).get(ada.job, user.owner) is not None)
        )

    async def fault(self, door: Door, who: Who) -> str | None:
        """What is wrong with the answer; None when it is as it should be."""
        ada = await self.ada(with_job="{job_id" in door.path, with_model="{ref" in door.path)
        headers = await self._headers(who, ada)
        method = _method(door)
        answer = await self._client.request(method, ada.named(door.path), headers=headers)
        expected = self._expected(door, who)
        said = f"{method} {door.path} by {who}: {answer.status_code}, expected {expected or 'to be let in'}"
        let_in = answer.status_code not in (401, 403, 404, 405, 500)
        if not let_in if expected is None else answer.status_code != expected:
            return f"{said}: {answer.text[:200]}"
        if expected is not None or door.path in SAYS_NOTHING:
            mine = who == "ada" and expected is None
            return None if mine or await self.has_all(ada) else f"{said}, and something of Ada's is gone"
        return None

    async def _headers(self, who: Who, ada: Ada) -> dict[str, str]:
        if who == "ada":
            return ada.headers
        if who in ("bob", "boss"):
            return self.bearer(await self.add("admin" if who == "boss" else "user"))
        return self._key if who == "key" else {}

    def _expected(self, door: Door, who: Who) -> int | None:
        """The status of a refusal, None for none. The rules of the house, once more and in other words."""
        signed_in, admin = who != "anybody", who in ADMINS
        access = decided(door)
        open_to_all = access is Access.PUBLIC or (access is Access.GUEST and not self._required)
        if not signed_in and not open_to_all:
            return 401
        if access is Access.ADMIN and not admin:
            return 403
        if door.path in SIGN_UP and self._required and not (door.path == "/user/" and admin):
            return 403 if door.path == "/user/" else 404
        about_a_user = "{user_id:id}" in door.path
        if who == "key" and access is Access.USER and not about_a_user and door.path != "/model/predict":
            return 403
        if (":stamp}" in door.path or ":sha256}" in door.path) and admin:
            return 404
        theirs = who == "ada" or (about_a_user and admin) or "{ref" in door.path
        return 404 if "{" in door.path and not theirs and door.path not in SAYS_NOTHING else None


@pytest.fixture(params=["open", "required"])
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    app = make_app(tmp_path, auth=request.param, keep_images="all")
    async with in_process(app) as client:
        made = World(app, tmp_path, client, request.param == "required")
        await made.add("admin")  # so that nobody here is the last one
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("who", ["anybody", "ada", "bob", "boss", "key"])
async def test_every_route_lets_in_whom_it_should(world: World, who: Who) -> None:
    """And nobody else: 401 for nobody, 403 for the wrong role, 404 for what is another's, which then is untouched."""
    faults = [fault for door in world.doors if (fault := await world.fault(door, who))]
    assert not faults, "\n".join(faults)


def test_no_door_is_wider_or_narrower_than_decided(tmp_path: Path) -> None:
    """A row of the table that lets in others than it should is named."""
    doors = [route for route in make_app(tmp_path).routes if isinstance(route, Door)]
    wrong = [f"{_method(door)} {door.path}: {door.access}" for door in doors if door.access is not decided(door)]
    assert not wrong, "\n".join(wrong)


def test_every_route_has_a_door(tmp_path: Path) -> None:
    """Nothing but the static files is served past the gate."""
    past = [route for route in make_app(tmp_path).routes if not isinstance(route, Door)]
    assert [route.path for route in past if isinstance(route, Mount)] == ["/static"]
    assert len(past) == 1


async def test_the_local_key_is_told_what_it_lacks(world: World) -> None:
    """Where a route is about the account of whoever asks, it says so instead of failing."""
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(world.app), base_url="http://localhost") as client:
        answer = await client.get("/api/me", headers=world._key)
    assert (answer.status_code, answer.json()["detail"]) == (403, NO_ACCOUNT)


async def test_a_session_opens_the_same_doors_as_a_token(world: World) -> None:
    """The matrix shows Bearer tokens; a cookie is the same account."""
    user = await world.add()
    secret = await world.app.house.accounts.open_session(user, "a browser", None)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(world.app), base_url="http://localhost") as client:
        for headers in (world.bearer(user), {"cookie": f"{SESSION_COOKIE}={secret}"}):
            assert (await client.get("/api/me", headers=headers)).json()["id"] == user.id
            assert (await client.get("/user/", headers=headers)).status_code == 403
