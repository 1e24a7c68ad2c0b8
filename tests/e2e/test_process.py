"""The real process: started by the command, ended by a signal."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import orjson
import pytest

from service.data_folder import Holder, holder
from tests.world import png

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DIGIT = ROOT / "web/static/examples/digit-7.png"

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prepared_models")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def glimt_serve(
    data: Path, *arguments: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx2.AsyncClient]]:
    """`glimt serve` in a process of its own, ready, and a client; killed at the end if it still runs."""
    port = free_port()
    environment = os.environ | {"GLIMT_WEIGHTS_SITE": "http://127.0.0.1:9", "KERAS_HOME": str(data)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", "serve", "--port", str(port), "--data-dir", str(data), *arguments,
        cwd=ROOT, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        try:
            async with asyncio.timeout(120):
                while not await is_ready(client):
                    assert process.returncode is None, (await process.communicate())[1].decode()
                    await asyncio.sleep(0.1)
            yield process, client
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def glimt(data: Path, *arguments: str, **environment: str) -> tuple[int | None, str, str]:
    """Another command, whose default data folder is `data`: exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", *arguments, cwd=ROOT,
        env=os.environ | {"GLIMT_DATA_DIR": str(data), "COLUMNS": "200", **environment},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, errors = await process.communicate()
    return process.returncode, out.decode(), " ".join(errors.decode().split())


async def is_ready(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx2.TransportError:
        return False


async def test_readme_curl_gets_the_readmes_answer(tmp_path: Path) -> None:
    """Without network: the demo model serves, says so everywhere with its way out, and answers as the README shows."""
    async with glimt_serve(tmp_path) as (_, client):
        answer = await client.post("/predict?top=2", files={"file": DIGIT.read_bytes()})
        health = (await client.get("/health")).json()
        page = (await client.get("/")).text
    document, readme = answer.json(), README.read_text()
    for label in document["predictions"]:
        shown = f'{{"label": "{label["label"]}", "wnid": null, "index": {label["index"]}, "score": {label["score"]}'
        assert shown[:-4] in readme  # the last digits of a probability may differ between processors
    assert document["model"]["version"] in readme
    assert document["image"]["sha256"] in readme
    for words in (document["notice"], health["notice"], page):
        assert "demo model" in words
        assert "scripts/serve" in words


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_answers_what_was_accepted_and_ends_the_process(tmp_path: Path, number: int) -> None:
    """T12: requests in flight are answered, the process ends by the signal, the log has the last words."""
    async with glimt_serve(tmp_path, "--model", "demo", "--cache-entries", "0") as (process, client):
        tasks = [asyncio.create_task(client.post("/predict", content=png(red))) for red in range(200)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        process.send_signal(number)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(25):
            assert await process.wait() == -number
    for end in ends:  # answered, honestly refused, or never accepted; an accepted one is never cut off
        if isinstance(end, httpx2.Response):
            assert end.status_code in {200, 503}
        else:
            assert isinstance(end, (httpx2.ConnectError, httpx2.RemoteProtocolError, httpx2.ReadError))
    assert len(done) >= 1
    logs = "".join(path.read_text() for path in (tmp_path / "logs").iterdir())
    assert "Finished server process" in logs


async def test_damaged_weights_end_the_start(tmp_path: Path) -> None:
    """T31: a weights file that is no weights file ends the process with exit code 3 and its name."""
    (tmp_path / "x.weights.h5").write_bytes(b"not weights")
    arguments = ["serve", "--model", "resnet50", "--weights", str(tmp_path / "x.weights.h5"), "--port", "0"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", *arguments, "--data-dir", str(tmp_path), cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, words = await process.communicate()
    assert process.returncode == 3
    assert "x.weights.h5" in words.decode()


WARM_START = """
import asyncio, sys
from pathlib import Path
from service.app import create_app
from service.construction import make_engine
from service.models.choice import choose
from service.settings import Settings

async def answer():
    settings = Settings(model="demo", data_dir=Path(sys.argv[1]), engine="openvino")
    served = choose(settings)
    app = create_app(settings, served, make_engine(served, settings))
    async with app.router.lifespan_context(app):
        await app.house.worker.loaded()
        prediction = await app.house.classifier.classify(Path(sys.argv[2]).read_bytes())
        print(prediction.model.engine, prediction.labels[0].label)

asyncio.run(answer())
assert not {"tensorflow", "keras"} & sys.modules.keys()
"""


async def test_a_warm_openvino_service_never_imports_tensorflow(tmp_path: Path) -> None:
    """The whole app starts and answers a picture without TensorFlow or Keras, though it was converted from Keras."""
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WARM_START, str(tmp_path), str(DIGIT), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        assert process.returncode == 0
        assert said.decode().split() == ["openvino", "digit_7"]


async def test_a_second_service_in_the_folder_is_refused(tmp_path: Path) -> None:
    """Exit code 3, naming the first and the ways out; after kill -9 of the first the next one starts."""
    async with glimt_serve(tmp_path, "--model", "demo") as (process, client):
        assert holder(tmp_path) == Holder(pid=process.pid, url=str(client.base_url).rstrip("/"))
        code, _, words = await glimt(tmp_path, "serve", "--model", "demo", "--port", "0")
        assert code == 3
        for part in (f"service at {holder(tmp_path).url}, process {process.pid}", "kill", "--data-dir"):  # type: ignore[union-attr]
            assert part in words
        process.kill()
        await process.wait()
        async with glimt_serve(tmp_path, "--model", "demo") as (_, client):
            assert (await client.get("/healthz")).status_code == 200


async def test_a_service_that_drains_is_not_asked(tmp_path: Path) -> None:
    """While somebody's request held up the end, the lock still named the free port: `glimt users` showed the key, and
    new passwords, to whoever listened there by then. Now it says what goes on, with exit code 3."""
    async with glimt_serve(tmp_path, "--model", "demo") as (process, client):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 9\r\n"
        writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert b"100 Continue" in await reader.readline()  # it is being answered
        process.terminate()
        async with asyncio.timeout(20):
            while holder(tmp_path) != Holder(pid=process.pid, ending=True):  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.01)
        code, _, words = await glimt(tmp_path, "users", "list")
        assert (code, f"process {process.pid}, which is shutting down: try again" in words) == (3, True)
        writer.close()
        assert await process.wait() == -signal.SIGTERM


async def test_the_first_start_where_everybody_needs_an_account(tmp_path: Path) -> None:
    """One admin, whose password is on the console once and in no log; local commands need none."""
    arguments = ["--model", "demo", "--auth", "required"]
    async with glimt_serve(tmp_path, *arguments) as (process, client):
        url = str(client.base_url)
        anybody = await client.post("/predict", content=png(1))
        code, listed, _ = await glimt(tmp_path, "users", "list", "--json")
        assert (code, [user["email"] for user in orjson.loads(listed)]) == (0, ["admin@localhost"])
        code, answer, _ = await glimt(tmp_path, "classify", str(DIGIT), "--ndjson", url)
        assert (code, orjson.loads(answer)["prediction"]) == (0, "digit_7")
        code, answer, _ = await glimt(tmp_path / "elsewhere", "classify", str(DIGIT), "--ndjson", url)
        assert (code, orjson.loads(answer)["error"]["code"]) == (1, "forbidden")
        assert "GLIMT_TOKEN" in answer
        process.terminate()
        _, errors = await process.communicate()
        words = errors.decode()
    assert anybody.status_code == 401
    found = re.findall(r"e-mail +admin@localhost .*\n.* password +([a-z2-9-]{23}) ", words)
    assert len(found) == 1
    assert all(found[0] not in path.read_text() for path in (tmp_path / "logs").iterdir())
    assert words.count(found[0]) == 1
    async with glimt_serve(tmp_path, *arguments) as (process, client):
        form = {"username": "admin@localhost", "password": found[0]}
        token = (await client.post("/login", data=form)).json()["access_token"]
        code, answer, _ = await glimt(tmp_path / "elsewhere", "classify", str(DIGIT), "--ndjson", str(client.base_url),
                                      GLIMT_TOKEN=token)  # fmt: skip
        assert (code, orjson.loads(answer)["prediction"]) == (0, "digit_7")
        process.terminate()
        _, errors = await process.communicate()
    assert b"password" not in errors


async def test_a_demo_account_is_refused_where_others_can_reach_it(tmp_path: Path) -> None:
    """Exit code 3, and how to go on."""
    code, _, words = await glimt(
        tmp_path, "serve", "--model", "demo", "--port", "0", "--host", "0.0.0.0", GLIMT_DEMO_ACCOUNT="1"
    )
    assert (code, "Leave out --demo-account (GLIMT_DEMO_ACCOUNT)" in words) == (3, True), words
