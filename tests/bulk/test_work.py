"""One job: what becomes of its pictures, whatever happens on the way."""

import asyncio
import errno
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import service.bulk.archive
from service.bulk.run import CHECKPOINT_ITEMS
from service.errors import Draining, EngineFailed, ImageCorrupt, NotReady
from service.inference.labels import ClassTable
from service.store.job_rows import JobItem
from tests.bulk.workshop import Answers, pictures, workshop, zipped
from tests.world import until


async def test_a_clean_run(tmp_path: Path) -> None:
    """Each entry has one row, in the archive's order: its answer or the reason why not; the job counts them."""
    answers = Answers()
    answers.errors = {b"bad5": ImageCorrupt("It is damaged."), b"odd5": EngineFailed("It cannot be computed.")}
    archive = zipped([("a5.png", b"a5"), ("notes.txt", b"-"), ("bad.png", b"bad5"), ("odd", b"odd5"), ("b.png", b"3")])
    async with workshop(tmp_path, answers) as shop:
        job = await shop.job(archive)
        over = await shop.over(job)
        rows = await shop.rows(job)
    assert (over.status, over.total, over.error_code) == ("done", 5, None)
    assert over.started_at is not None
    assert over.ended_at is not None
    assert [(row.position, row.name, row.status, row.code, row.detail, row.label) for row in rows] == [
        (0, "a5.png", "done", None, None, "class_5"),
        (1, "notes.txt", "skipped", "not_a_picture", None, None),
        (2, "bad.png", "failed", "image_corrupt", "It is damaged.", None),
        (3, "odd", "failed", "engine_failed", "It cannot be computed.", None),
        (4, "b.png", "done", None, None, "class_3"),
    ]
    assert (rows[0].score, rows[0].model_version, rows[0].image_sha256) == (0.5, "1", "0" * 64)
    assert rows[0].guesses is not None
    assert rows[0].guesses[:2] == [("class_5", 0.5), ("class_6", 0.25)]
    assert len(rows[0].guesses) == 10


async def test_folders_are_labels(tmp_path: Path) -> None:
    """In the model's own word where it has one, else as they are called; the report counts what was taken for what."""
    files = [("class 3/a.png", b"3"), ("class-3/b.png", b"4"), ("CLASS_4/c.png", b"4"), ("cats/d.png", b"4")]
    async with workshop(tmp_path) as shop:
        job = await shop.job(zipped([*files, ("class_3/notes.txt", b"-")]))
        await shop.over(job)
        assert [row.truth for row in await shop.rows(job)] == ["class_3", "class_3", "class_4", "cats", "class_3"]
        assert await shop.jobs.confusion(job.id) == {
            ("class_3", "class_3"): 1,
            ("class_3", "class_4"): 1,
            ("class_4", "class_4"): 1,
            ("cats", "class_4"): 1,
        }
        assert await shop.jobs.labels(job.id) == {"class_4": 3, "class_3": 1}


async def test_another_model_in_the_middle(tmp_path: Path) -> None:
    """Each row names the version that answered, and the folders after the swap are found among the new classes."""
    answers = Answers()
    answers.hold()
    async with workshop(tmp_path, answers, places=1) as shop:
        job = await shop.job(zipped([("class_3/a.png", b"3"), ("dog/b.png", b"4"), ("dog/c.png", b"4")]))
        await until(lambda: answers.asked == [b"3"])
        answers.version, answers.classes = "2", ClassTable(("Dog",), (None,), ("",))
        answers.let(3)
        await shop.over(job)
        rows = await shop.rows(job)
    assert [(row.truth, row.model_version) for row in rows] == [("class_3", "2"), ("Dog", "2"), ("Dog", "2")]


async def test_a_fault_of_ours_costs_one_picture(tmp_path: Path) -> None:
    """It is failed as `internal`, the log has the reason and where, the others have their answers."""
    answers = Answers()
    answers.errors = {b"1": RuntimeError("secret")}
    async with workshop(tmp_path, answers) as shop:
        with capture_logs() as said:
            job = await shop.job(pictures(3))
            assert (await shop.over(job)).status == "done"
        assert [(row.status, row.code) for row in await shop.rows(job)] == [
            ("done", None),
            ("failed", "internal"),
            ("done", None),
        ]
        assert [line["position"] for line in said if line["log_level"] == "error"] == [1]
        assert "secret" not in str(await shop.rows(job))


async def test_a_job_without_an_archive(tmp_path: Path) -> None:
    """It fails with words, and so does one whose archive cannot be read."""
    async with workshop(tmp_path) as shop:
        missing = await shop.over(await shop.job(None))
        job = await shop.job(b"", start=False)
        shop.runner.archive(job.id).unlink()
        shop.runner.archive(job.id).mkdir()
        shop.runner.start(job)
        unreadable = await shop.over(job)
    for job in (missing, unreadable):
        assert (job.status, job.error_code) == ("failed", "archive_unreadable")
        assert job.error_detail is not None
        assert "Send it again" in job.error_detail


async def test_a_damaged_archive(tmp_path: Path) -> None:
    """The job fails with the archive's fault; nothing was asked of the model."""
    async with workshop(tmp_path) as shop:
        job = await shop.over(await shop.job(pictures(3)[:-30]))
        assert (job.status, job.error_code, job.total) == ("failed", "archive_invalid", None)
        assert shop.answers.asked == []


async def test_a_folder(tmp_path: Path) -> None:
    """Its files are entries as an archive's; one that has gone fails alone, and after a restart each has its place."""
    photos = tmp_path / "photos"
    for name in ("class_3/a3", "class_3/b4", "class_4/c4", "class_4/d4"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_text(name[-2:])
    answers = Answers()
    answers.hold()
    async with workshop(tmp_path, answers, places=1, allowed=[photos]) as shop:
        job = await shop.jobs.add("ada", "photos", 0, str(photos))
        shop.runner.start(job)
        await until(lambda: answers.asked == [b"a3"])
        answers.let(1)
        await until(lambda: answers.asked == [b"a3", b"b4"])
    (photos / "class_3/a0").write_text("a0")
    (photos / "class_4/c4").unlink()
    async with workshop(tmp_path, allowed=[photos]) as shop:
        assert (await shop.over(job)).status == "done"
        assert [(row.name, row.label, row.truth, row.code) for row in await shop.rows(job)] == [
            ("class_3/a3", "class_3", "class_3", None),
            ("class_3/b4", "class_4", "class_3", None),
            ("class_4/c4", None, "class_4", "image_error"),
            ("class_4/d4", "class_4", "class_4", None),
        ]


async def test_a_folder_that_has_gone(tmp_path: Path) -> None:
    """The job fails with words."""
    async with workshop(tmp_path, allowed=[tmp_path]) as shop:
        job = await shop.jobs.add("ada", "photos", 0, str(tmp_path / "photos"))
        shop.runner.start(job)
        over = await shop.over(job)
        assert (over.status, over.error_code) == ("failed", "archive_unreadable")
        assert "No such file" in (over.error_detail or "")


async def test_a_disk_too_full_to_list_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job waits for room and goes on."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a3").write_text("a3")
    async with workshop(tmp_path, allowed=[tmp_path]) as shop:
        with monkeypatch.context() as patch:
            patch.setattr("service.bulk.folder.replace_file", _full)
            job = await shop.jobs.add("ada", "photos", 0, str(tmp_path / "photos"))
            shop.runner.start(job)
            await until(lambda: shop.paused(job))
            assert "full" in (shop.paused(job) or "")
        assert (await shop.over(job)).done == 1


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_disk_that_fails_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job fails with words and keeps what was answered before."""
    answers = Answers()
    answers.hold()
    async with workshop(tmp_path, answers, places=1) as shop:
        job = await shop.job(pictures(3))
        await until(lambda: answers.asked == [b"0"])
        monkeypatch.setattr(service.bulk.archive, "read_at", _failing)
        answers.let(3)
        over = await shop.over(job)
        assert (over.status, over.error_code) == ("failed", "archive_unreadable")
        assert [row.label for row in await shop.rows(job)] == ["class_0"]


def _failing(*_: object) -> bytes:
    raise OSError(errno.EIO, "Input/output error")


async def test_a_model_that_loads(tmp_path: Path) -> None:
    """The job waits, says so, and goes on when the model is ready; no picture failed for it."""
    answers = Answers()
    answers.refusal = NotReady("The model is still loading.")
    async with workshop(tmp_path, answers) as shop:
        job = await shop.job(pictures(50))
        await until(lambda: shop.paused(job))
        assert shop.paused(job) == "The model is still loading."
        assert answers.asked == []
        answers.refusal = None
        assert (await shop.over(job)).done == 50
        assert sorted(answers.asked) == sorted(b"%d" % n for n in range(50))


async def test_draining(tmp_path: Path) -> None:
    """Nothing more is classified and the job is no failure: the next start goes on where it stood."""
    answers = Answers()
    answers.hold()
    async with workshop(tmp_path, answers, places=2) as shop:
        job = await shop.job(pictures(10))
        await until(lambda: len(answers.asked) == 2)
        answers.let(3)
        await until(lambda: len(answers.asked) == 5)
        answers.refusal = Draining("The service is shutting down.")
        answers.let(2)
        assert (await shop.over(job)).status == "running"
        stored = len(await shop.rows(job))
        assert stored >= 4
    again = Answers()
    async with workshop(tmp_path, again) as shop:
        assert (await shop.over(job)).status == "done"
        assert [row.position for row in await shop.rows(job)] == [*range(10)]
    assert len(again.asked) == 10 - stored


async def test_answers_that_come_while_others_are_stored(tmp_path: Path) -> None:
    """They are neither taken for stored nor stored twice."""
    answers, storing, go_on = Answers(), asyncio.Event(), asyncio.Event()
    answers.hold()
    async with workshop(tmp_path, answers, places=CHECKPOINT_ITEMS + 5) as shop:
        checkpoint = shop.jobs.checkpoint

        async def slow(job_id: int, items: Sequence[JobItem]) -> None:
            await checkpoint(job_id, items)
            storing.set()
            await go_on.wait()

        shop.jobs.checkpoint = slow  # type: ignore[method-assign]
        job = await shop.job(pictures(CHECKPOINT_ITEMS + 5))
        answers.let(CHECKPOINT_ITEMS)
        await storing.wait()
        answers.let(5)
        await until(lambda: not answers.flying)
        go_on.set()
        assert (await shop.over(job)).done == CHECKPOINT_ITEMS + 5
        assert [row.position for row in await shop.rows(job)] == [*range(CHECKPOINT_ITEMS + 5)]


async def test_a_full_disk(tmp_path: Path) -> None:
    """The job pauses with words, holds no more than what fits in memory, goes on with room, and asks nothing twice."""
    answers = Answers()
    answers.hold()
    files = [(f"{n:04}{'x' * 900}.png", b"%d" % n) for n in range(600)]
    async with workshop(tmp_path, answers, places=8) as shop:
        job = await shop.job(zipped(files))
        await until(lambda: len(answers.asked) == 8)
        await shop.limit_pages(4)
        answers.go()
        await until(lambda: shop.paused(job) and not answers.flying)
        assert "free space" in str(shop.paused(job))
        asked = len(answers.asked)
        assert asked <= CHECKPOINT_ITEMS + 8
        await shop.limit_pages(None)
        assert (await shop.over(job)).status == "done"
        assert [row.position for row in await shop.rows(job)] == [*range(600)]
        assert len(answers.asked) == len(set(answers.asked)) == 600


async def test_a_full_disk_and_nothing_but_skipped_entries(tmp_path: Path) -> None:
    """They need no place in the window; still no more of them wait than are stored at once."""
    files = [("a.png", b"1"), *((f"{n:04}{'x' * 900}.txt", b"-") for n in range(5000))]
    answers = Answers()
    answers.hold()
    async with workshop(tmp_path, answers) as shop:
        job = await shop.job(zipped(files), start=False)
        await shop.limit_pages(4)
        shop.runner.start(job)
        await until(lambda: shop.paused(job))
        assert len(shop.runner._runs[job.id].answered) == CHECKPOINT_ITEMS
        await shop.limit_pages(None)
        answers.go()
        assert (await shop.over(job)).skipped == 5000
        assert len(await shop.rows(job)) == 5001


async def test_stopping_while_the_disk_is_full(tmp_path: Path) -> None:
    """It ends; the next start, with room, does the rest and counts nothing twice."""
    answers = Answers()
    answers.hold()
    files = [(f"{n:04}{'x' * 900}.png", b"%d" % n) for n in range(200)]
    async with asyncio.timeout(20):
        async with workshop(tmp_path, answers, places=8, retry_s=1000) as shop:
            job = await shop.job(zipped(files))
            await until(lambda: len(answers.asked) == 8)
            await shop.limit_pages(4)
            answers.go()
            await until(lambda: shop.paused(job))
    async with workshop(tmp_path) as shop:
        assert (await shop.over(job)).status == "done"
        assert [row.position for row in await shop.rows(job)] == [*range(200)]


async def test_entries_packed_with_deflate(tmp_path: Path) -> None:
    """What is counted against the window is what a picture takes unpacked."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(4):
            archive.writestr(f"{n}.png", bytes(999) + b"%d" % n)
    answers = Answers()
    answers.hold()
    async with workshop(tmp_path, answers) as shop:
        shop.runner._work._window._size = 2000
        job = await shop.job(path.read_bytes())
        await until(lambda: len(answers.asked) == 2)
        answers.go()
        assert (await shop.over(job)).done == 4
    assert answers.most_bytes == 2000


@pytest.mark.parametrize("count", [0, 1, CHECKPOINT_ITEMS, CHECKPOINT_ITEMS + 1, 3 * CHECKPOINT_ITEMS + 5])
async def test_any_number_of_pictures(tmp_path: Path, count: int) -> None:
    """Around what is stored at once, all of them have their row."""
    async with workshop(tmp_path) as shop:
        job = await shop.job(zipped([("a.txt", b"-"), *((f"{n}", b"%d" % n) for n in range(count + 1))]))
        assert (await shop.over(job)).done == count + 1
        assert len(await shop.rows(job)) == count + 2
