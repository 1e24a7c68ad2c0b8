"""perf/locustfile.py and perf/shapes.py: the real Locust in a process of its own, its service a real or a bad one."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest

from tests.fakes import GatedEngine
from tests.world import PASSWORD, free_socket, make_app, under_uvicorn

pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="Locust is not installed: pip install -e '.[load]'")

ROOT = Path(__file__).parents[2]
BOTH = "perf/locustfile.py,perf/shapes.py"
HEAD = b"HTTP/1.1 %d x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n%b\r\n"
GOOD = b'{"index": 0, "filename": "0.jpg", "success": true}\n'
BAD = b'{"index": 1, "filename": "1.jpg", "error": {"code": "image_corrupt"}}\n'
PICTURE_ROWS = ("/predict raw", "/predict form", "picture", "/ card", "A: /model/predict")
DONE = b'{"done": true, "ok": 2, "failed": 0}\n'


class Load(NamedTuple):
    """What Locust reported: samples and failures by row, its exit code, and its words, with the reasons of failures."""

    samples: Counter[str]
    failures: Counter[str]
    exit_code: int | None
    words: str


async def locust(port: int, *arguments: str, files: str = "perf/locustfile.py") -> Load:
    """Run Locust headless until it ends."""
    command = ["-m", "locust", "-f", files, "-H", f"http://127.0.0.1:{port}", "--headless", "--json", *arguments]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    report, words = await process.communicate()
    samples: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    for row in json.loads(report):
        samples[row["name"]] += row["num_requests"]
        failures[row["name"]] += row["num_failures"]
    return Load(samples, +failures, process.returncode, words.decode())


def always(answer: bytes) -> AbstractAsyncContextManager[int]:
    """A server with one answer to everything."""
    return answering(lambda head: answer)


@asynccontextmanager
async def answering(answer: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    """A server that reads each request whole, answers as its head in lower case deserves, and hangs up; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"content-length: " in head:
            await reader.readexactly(int(head.split(b"content-length: ")[1].split()[0]))
        writer.write(answer(head).replace(b"\r\n", b"\r\nConnection: close\r\n", 1))  # or it is used once more
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def chunk(line: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(line), line)


@pytest.fixture(scope="module")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> tuple[Load, int]:
    """One short run of all the users at once, and how many pictures the engine has computed."""
    engine = GatedEngine()

    async def run() -> Load:
        async with under_uvicorn(make_app(tmp_path_factory.mktemp("data"), engine, demo_account=True)) as port:
            arguments = ["-u", "16", "-r", "16", "-t", "5s", "--rest", "0.3", "--parts", "3", "--receipts"]
            return await locust(port, *arguments)

    return asyncio.run(run()), sum(map(len, engine.batches))


@pytest.mark.slow
def test_every_user_has_samples_and_none_fails(everybody: tuple[Load, int]) -> None:
    """Json, Stream, Page, Feedback and ReferenceA all do what they are for against the real service."""
    load, _ = everybody
    rows = ["/predict raw", "/predict form", "/predict stream of 3", "picture", "/", "/static/...", "/ card"]
    missing = {*rows, "/feedback", "queue", "infer"} - {name for name, count in load.samples.items() if count}
    assert (missing, load.failures, load.exit_code) == (set(), Counter(), 0), load.words
    assert {"A: /", "A: /model/predict"} & set(load.samples)


@pytest.mark.slow
def test_no_picture_is_answered_by_the_cache(everybody: tuple[Load, int]) -> None:
    """The service's cache is on, and yet the engine has computed every picture that was answered."""
    load, computed = everybody
    answered = sum(load.samples[row] for row in PICTURE_ROWS)
    assert answered <= computed <= answered + 3 * 16  # those on their way when Locust stopped


@pytest.mark.slow
def test_a_line_of_a_stream_is_a_sample(everybody: tuple[Load, int]) -> None:
    """Three pictures in a request are three samples beside the request's own."""
    load, _ = everybody
    streams = load.samples["/predict stream of 3"]
    assert 3 * streams <= load.samples["picture"] <= 3 * (streams + 16)


@pytest.mark.slow
async def test_repeats_may_be_answered_by_the_cache(tmp_path: Path) -> None:
    """With --repeat the made pictures, 40 of them, are computed once each at most."""
    engine = GatedEngine()
    async with under_uvicorn(make_app(tmp_path, engine)) as port:
        load = await locust(port, "-u", "2", "-t", "3s", "--repeat", "Json")
    assert load.samples.total() > 40 >= sum(map(len, engine.batches))


@pytest.mark.slow
async def test_a_refusal_is_no_failure_and_its_wait_is_obeyed() -> None:
    """A 503 with Retry-After: 1 has a row of its own, and each of two users comes back once a second at most."""
    answer = b"HTTP/1.1 503 x\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
    async with always(answer) as port:
        load = await locust(port, "-u", "2", "-r", "2", "-t", "3s", "Json")
    refused = load.samples["/predict raw refused"] + load.samples["/predict form refused"]
    assert (load.samples.total(), load.failures) == (refused, Counter())
    assert 2 <= refused <= 2 * 4


NO_ANSWERS = {
    "a 503 without Retry-After": (b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n", "503"),
    "an answer without a receipt": (b"HTTP/1.1 200 x\r\nContent-Length: 2\r\n\r\n{}", "receipt"),
    "no answer": (b"", ""),
}
BAD_STREAMS = {
    "an error line": ([GOOD, BAD, DONE], "picture", "image_corrupt"),
    "no last line": ([GOOD, GOOD], "/predict stream of 2", "there is no last line"),
    "interrupted": ([GOOD, GOOD, b'{"done": false, "code": "interrupted"}\n'], "/predict stream of 2", "interrupted"),
    "a picture forgotten": ([GOOD, DONE], "/predict stream of 2", "another number of lines"),
    "a broken line": ([GOOD, b"{", DONE], "/predict stream of 2", "JSON"),
}
CUT = "cut half way"


@pytest.fixture(scope="module")
def failing() -> dict[str, Load]:
    """What Locust says of each service that always answers badly. All are asked at once: one takes four seconds."""

    async def run(answer: bytes, *users: str) -> Load:
        async with always(answer) as port:
            return await locust(port, "-t", "2s", "--rest", "0.2", *users)

    async def all_of_them() -> dict[str, Load]:
        asked = {name: run(answer, "Json") for name, (answer, _) in NO_ANSWERS.items()}
        for name, (lines, _, _) in BAD_STREAMS.items():
            whole = HEAD % (200, b"") + b"".join(map(chunk, lines)) + b"0\r\n\r\n"
            asked[name] = run(whole, "--parts", "2", "Stream")
        asked[CUT] = run(HEAD % (200, b"") + chunk(GOOD), "--parts", "2", "Stream")
        return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))

    return asyncio.run(all_of_them())


@pytest.mark.slow
@pytest.mark.parametrize("name", NO_ANSWERS)
def test_what_is_no_answer_is_a_failure(failing: dict[str, Load], name: str) -> None:
    """Everything but an answer and a refusal counts as failed, and Locust's exit code says so."""
    load, (_, reason) = failing[name], NO_ANSWERS[name]
    assert 0 < load.failures.total() == load.samples.total()
    assert load.exit_code == 1
    assert reason in load.words.partition("Error report")[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD_STREAMS)
def test_a_bad_stream_is_a_failure(failing: dict[str, Load], name: str) -> None:
    """Locust sees a 200 in each of these; what fails is the picture or the stream, with the reason."""
    load, (_, row, reason) = failing[name], BAD_STREAMS[name]
    assert load.failures[row] > 0
    assert reason in load.words.partition("Error report")[2]


@pytest.mark.slow
def test_a_stream_cut_half_way_is_a_failure(failing: dict[str, Load]) -> None:
    """The connection ends within the body: a failed request, not an exception in the user."""
    assert failing[CUT].failures["/predict stream of 2"] > 0
    assert "Traceback" not in failing[CUT].words


class Tokens:
    """A reference system A whose tokens hold for so many requests."""

    def __init__(self, uses: int) -> None:
        self._uses = uses
        self._used: Counter[bytes] = Counter()
        self._given = 0

    def answer(self, head: bytes) -> bytes:
        if head.startswith(b"post /login "):
            self._given += 1
            return ok(b'{"access_token": "t%d", "token_type": "bearer"}' % self._given)
        token = head.partition(b"authorization: bearer ")[2].split()[0]
        self._used[token] += 1
        if self._used[token] > self._uses:
            return b"HTTP/1.1 401 x\r\nContent-Length: 0\r\n\r\n"
        return ok(b'{"success": true, "score": 0.5}')


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.slow
async def test_a_user_of_a_signs_in_again_when_its_token_has_ended() -> None:
    """A token that worked once and then is refused: no failure but a row of its own, and a sign-in."""
    async with answering(Tokens(uses=1).answer) as port:
        load = await locust(port, "-u", "4", "-r", "4", "-t", "12s", "ReferenceA")
    ended = sum(count for name, count in load.samples.items() if name.endswith(" signed out"))
    assert (load.failures, load.exit_code) == (Counter(), 0), load.words
    assert 0 < ended <= load.samples["A: /login"] <= ended + 4


@pytest.mark.slow
async def test_a_token_that_never_worked_is_a_failure() -> None:
    """Otherwise a service that refuses everybody would have no failures."""
    async with answering(Tokens(uses=0).answer) as port:
        load = await locust(port, "-u", "2", "-r", "2", "-t", "3s", "ReferenceA")
    assert load.failures["A: /"] + load.failures["A: /model/predict"] > 0
    assert not any(name.endswith(" signed out") for name in load.samples)


@pytest.mark.slow
async def test_where_a_login_is_required_the_others_show_a_token(tmp_path: Path) -> None:
    """Json, Stream, Page and Feedback with --token, a personal one."""
    app = make_app(tmp_path, auth="required")
    async with under_uvicorn(app) as port:
        accounts = app.house.accounts
        user = await accounts.create(name="Load", email="load@example.org", password=PASSWORD)
        token, _ = await accounts.create_token(user, "load test")
        options = ["-u", "8", "-r", "8", "-t", "4s", "--rest", "0.2", "--token", token]
        load = await locust(port, *options, "Json", "Stream", "Page", "Feedback")
    rows = ["/predict raw", "/predict stream of 4", "/", "/ card", "/feedback"]
    assert {row for row in rows if not load.samples[row]} == set()
    assert (load.failures, load.exit_code) == (Counter(), 0), load.words


@pytest.mark.slow
async def test_the_shape_that_was_named_runs_headless_and_ends_the_run(tmp_path: Path) -> None:
    """Locust alone would take the first shape class and ignore the rest: here the option decides."""
    async with under_uvicorn(make_app(tmp_path, GatedEngine(), demo_account=True)) as port:
        load = await locust(port, "--shape", "spike", "--levels", "1,4", "--hold", "1", "ReferenceA", files=BOTH)
    updates = [line.split("updating to ")[1].split()[0] for line in load.words.splitlines() if "updating to" in line]
    assert updates == ["1", "4", "1"]
    assert load.exit_code == 0


@pytest.mark.slow
async def test_the_options_stand_in_locusts_page() -> None:
    """The page starts with both files, and its form has our fields, but nothing that is secret."""
    with free_socket() as free:
        port = free.getsockname()[1]
    command = ["-m", "locust", "-f", BOTH, "--web-host", "127.0.0.1", "--web-port", str(port)]
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, stdin=quiet, stdout=quiet, stderr=quiet
    )
    try:
        page = await first_answer(f"http://127.0.0.1:{port}/")
    finally:
        process.terminate()
        await process.wait()
    assert all(f'"{name}": {{"choices"' in page for name in ("shape", "levels", "hold", "images", "parts", "email"))
    assert '"password": {"choices"' not in page


async def first_answer(url: str) -> str:
    async with asyncio.timeout(30), httpx2.AsyncClient() as client:
        while True:
            try:
                return (await client.get(url)).text
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
