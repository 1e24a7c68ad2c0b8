"""`glimt classify` with zip archives: read here, or sent to a running service as a job."""

import asyncio
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from service.bulk.directory import ArchiveLimits
from service.classify import Printed, classify_all, packed, row, table
from service.remote_job import RemoteJob
from service.settings import Settings
from tests.fakes import GatedEngine
from tests.world import make_app, png, under_uvicorn

FILES = {"one.png": png(10), "torn.png": png(20)[:50], "readme.txt": b"no picture", "two.png": png(200)}


def zipped(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def lines(output: str) -> dict[str, dict[str, Any]]:
    """NDJSON among the service's own log, by the name of the file."""
    found = [orjson.loads(line) for line in output.splitlines() if line.startswith("{")]
    return {Path(line["filename"]).name: line for line in found}


def test_pictures_in_an_archive(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each is named by the archive and its own name; what is skipped is said, and is no failure."""
    path, printed = zipped(tmp_path / "big.zip", FILES), Printed(ndjson=True)
    with ExitStack() as archives:
        found = list(packed([path], ArchiveLimits(max_member_bytes=10_000), archives, printed))
        assert {picture.name: picture.read() for picture in found} == {
            f"{path}/{name}": data for name, data in FILES.items() if name != "readme.txt"
        }
    assert lines(capfd.readouterr().out)["readme.txt"]["skipped"] == "not_a_picture"
    assert printed.failed == 0


def test_an_archive_that_is_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is one failure with its reason; so is one that is not there."""
    (tmp_path / "fake.zip").write_bytes(b"nonsense")
    printed = Printed(ndjson=True)
    with ExitStack() as archives:
        paths = [tmp_path / "fake.zip", tmp_path / "gone.zip"]
        assert list(packed(paths, ArchiveLimits(max_member_bytes=10_000), archives, printed)) == []
    said = lines(capfd.readouterr().out)
    assert "archive_invalid" in str(said["fake.zip"])
    assert "No such file" in str(said["gone.zip"])
    assert printed.failed == 2


def test_a_terminal_is_told_nothing_by_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """A service's labels and errors, and names of files, reached the terminal with what it obeys, and as markup."""
    evil = "\x1b]0;x\x07[red]"
    good = {"prediction": evil, "score": 0.5, "predictions": [{"label": evil, "score": 0.5}] * 2}
    bad = {"error": {"code": evil, "detail": evil}}
    Console(width=200).print(table([(evil, *row(good)), (evil, *row(bad))]))
    shown = capsys.readouterr().out
    assert not {"\x1b", "\x07"} & set(shown)
    assert shown.count("[red]") == 6


async def test_by_a_service_as_a_job(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A zip and a single picture: the same lines for both; the job is gone afterwards."""
    zipped(tmp_path / "big.zip", FILES)
    (tmp_path / "single.png").write_bytes(png(99))
    async with under_uvicorn(make_app(tmp_path / "data")) as port:
        sources = [str(tmp_path / "big.zip"), str(tmp_path / "single.png"), f"http://127.0.0.1:{port}"]
        failed = await classify_all(sources, Settings(data_dir=tmp_path / "other"), top=2, ndjson=True)
        assert [path.name for path in (tmp_path / "data/jobs").iterdir()] == ["unfinished"]
    said = lines(capfd.readouterr().out)
    assert failed == 1
    assert said.keys() == {*FILES, "single.png"}
    for name in ("one.png", "single.png"):
        assert said[name]["prediction"] == said[name]["predictions"][0]["label"]
        assert len(said[name]["predictions"]) == 2
    assert "image_corrupt" in str(said["torn.png"]["error"])


async def test_refused_by_a_service(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Over its limit, or no zip: its own words, and one failure each."""
    zipped(tmp_path / "big.zip", {"a.png": bytes(5000)})
    (tmp_path / "fake.zip").write_bytes(b"nonsense")
    async with under_uvicorn(make_app(tmp_path / "data", max_zip_bytes=2000)) as port:
        sources = [str(tmp_path / "big.zip"), str(tmp_path / "fake.zip"), f"http://127.0.0.1:{port}"]
        assert await classify_all(sources, Settings(data_dir=tmp_path / "other"), top=2, ndjson=True) == 2
    said = lines(capfd.readouterr().out)
    assert "GLIMT_MAX_ZIP_BYTES" in str(said["big.zip"])
    assert "it is no zip" in str(said["fake.zip"])


async def test_given_up_half_way(tmp_path: Path) -> None:
    """Ctrl-C cancels the job and removes it."""
    engine, watched = GatedEngine(open_gate=False), asyncio.Event()
    path = zipped(tmp_path / "big.zip", FILES)

    def told(doing: str, _done: int, _total: int | None) -> None:
        if doing == "classifying":
            watched.set()

    app = make_app(tmp_path / "data", engine)
    async with under_uvicorn(app) as port:

        async def ask() -> None:
            async for _ in RemoteJob(f"http://127.0.0.1:{port}", lambda: "").answers(path, told):
                pass

        task = asyncio.create_task(ask())
        await watched.wait()
        task.cancel()
        engine.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await app.house.own_jobs.store.list(None) == ()
