"""`glimt tune` as a person meets it: words, exit codes, and a setting that is always put back."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from service.errors import InvalidField, Unavailable
from service.tuning.load import Closed
from service.tuning.setting import Setting
from service.tuning.target import Target
from service.tuning.tune import tune
from tests.tuning.fake_service import FakeService

ROOT = Path(__file__).parents[2]
FORMER = Setting(2, 5)


async def start(*arguments: str) -> asyncio.subprocess.Process:
    """The command in a process of its own, hasty."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", "tune", "--seconds", "0.1", *arguments, cwd=ROOT,
        env=os.environ | {"COLUMNS": "200"}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def told(*arguments: str) -> tuple[int | None, str]:
    """Its exit code and all its words."""
    process = await start(*arguments)
    out, errors = await process.communicate()
    assert b"Traceback" not in errors
    return process.returncode, " ".join((out + errors).decode().split())


@pytest.mark.slow
async def test_a_goal_that_is_met(tmp_path: Path) -> None:
    """Exit code 0: the table, the best, how to keep it, and the former setting in force again."""
    (tmp_path / "a.jpg").write_bytes(b"a picture of the user's own")
    fake = FakeService(setup_ms=15, setting=FORMER)
    async with fake.running() as url:
        code, words = await told("--url", url, "--clients", "8", "--p95-ms", "5000", "--images", str(tmp_path))
    assert code == 0
    assert "batch wait ms per s ratio p50 ms p95 ms p99 ms mean lost" in words
    assert re.search(r"Best for p95 within 5000 ms under 8 clients: max_batch [48], max_wait_ms", words)
    assert "Batching helps: up to +" in words
    assert re.search(r"GLIMT_MAX_BATCH=[48] GLIMT_MAX_WAIT_MS=\d+, or glimt serve --max-batch [48]", words)
    assert "In force again: max_batch 2, max_wait_ms 5." in words
    assert fake.setting == FORMER
    assert all(body.startswith(b"a picture of the user's own") for body in fake.bodies)


@pytest.mark.slow
async def test_a_goal_that_is_not_met() -> None:
    """Exit code 4: the fastest, and the lighter load that would hold it; --keep keeps nothing then."""
    fake = FakeService(setup_ms=0, each_ms=20, setting=FORMER)
    async with fake.running() as url:
        code, words = await told("--url", url, "--clients", "4", "--p95-ms", "50", "--keep")
    assert code == 4
    assert "No setting keeps p95 within 50 ms under 4 clients. The fastest: max_batch" in words
    assert re.search(r"It holds with [12] clients?: p95 [\d.]+ ms", words)
    assert fake.setting == FORMER


@pytest.mark.slow
async def test_keep_leaves_the_best_in_force() -> None:
    """After the former setting came back, so that an error in between cannot leave a stray one."""
    fake = FakeService(setup_ms=15, setting=FORMER)
    async with fake.running() as url:
        code, words = await told("--url", url, "--clients", "8", "--p95-ms", "5000", "--keep")
    assert code == 0
    assert f"In force now, until the service restarts: {fake.setting}." in words
    assert fake.changes[-2:] == [FORMER, fake.setting]
    assert fake.setting.max_batch > 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_puts_the_setting_back(number: signal.Signals) -> None:
    """Ctrl-C, and the polite way in which a supervisor ends it."""
    fake = FakeService(setting=FORMER)
    async with fake.running() as url:
        process = await start("--url", url, "--clients", "2", "--seconds", "100")
        await fake.changed.wait()
        fake.setting = Setting(64, 1)  # as if it stood at a setting of its own
        process.send_signal(number)
        _, errors = await process.communicate()
    assert process.returncode not in (0, None)
    assert b"Traceback" not in errors
    assert fake.setting == fake.changes[-1] == FORMER


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--url", "http://127.0.0.1:9"], 1, "No service can be reached at http://127.0.0.1:9"),
        (["--url", "somewhere"], 1, "somewhere is not the URL of a service"),
        (["--clients", "3", "--rate", "3"], 2, "--clients or --rate, not both"),
        (["--clients", "0"], 2, "Invalid value for '--clients'"),
        (["--images", "/nowhere"], 2, "does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_mistakes(arguments: list[str], code: int, words: str) -> None:
    """1 for a service that cannot be used, 2 for a bad option; in words."""
    found_code, found_words = await told(*arguments)
    assert (found_code, words in found_words) == (code, True), found_words


async def test_the_verdict_is_told_when_the_setting_cannot_be_put_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It took minutes to find; the error follows."""

    async def fail(target: Target, setting: Setting) -> None:
        raise InvalidField("not that one.")

    monkeypatch.setattr(Target, "restore", fail)
    async with FakeService(setting=FORMER).running() as url:
        with pytest.raises(Unavailable, match=r"could not be put back: not that one. It was max_batch 2"):
            await tune(Target(url), Closed(1), [b"picture"], goal_ms=5000, seconds=0.02, keep=False)
    words = capsys.readouterr().out
    assert "Best for p95 within 5000 ms under 1 client" in words
    assert "In force" not in words


@pytest.mark.slow
async def test_a_service_that_does_not_let_us() -> None:
    """403 before any load: the words say how to get in."""
    fake = FakeService(patch_status=403)
    async with fake.running() as url:
        code, words = await told("--url", url)
    assert (code, fake.bodies) == (1, [])
    assert "does not let this caller do that. This is for admins. Make a token on its page /account" in words


@pytest.mark.slow
async def test_every_request_carries_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """That in GLIMT_TOKEN: the load's requests too, for a service that wants to know who asks."""
    monkeypatch.setenv("GLIMT_TOKEN", "glimt_abc")
    for load in (["--clients", "2"], ["--rate", "50"]):
        fake = FakeService(setup_ms=1, setting=FORMER)
        async with fake.running() as url:
            code, _ = await told("--url", url, "--p95-ms", "5000", *load)
        assert (code, fake.tokens) == (0, {"Bearer glimt_abc"})
