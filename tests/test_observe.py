"""Logs: what is written where, what is never written, and that writing holds nobody up."""

import io
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog

from service.observe import KEPT_FILES, DailyFile, Logging, configure_logging
from service.settings import Settings


@contextmanager
def logs(folder: Path, **options: Any) -> Iterator[tuple[Any, io.StringIO]]:
    """A fresh structlog logger and the console it is shown on."""
    console = io.StringIO()
    with configure_logging(Settings(data_dir=folder, **options), console):
        yield structlog.get_logger("service.test"), console


def written(folder: Path) -> list[dict[str, Any]]:
    return [
        orjson.loads(line) for file in sorted((folder / "logs").iterdir()) for line in file.read_bytes().splitlines()
    ]


def test_a_line_is_json_in_todays_file(tmp_path: Path) -> None:
    """Time in UTC, level, logger, event and fields; the file is private and named after the day."""
    with logs(tmp_path) as (log, _):
        log.info("model loaded", model="resnet50", batch=8)
    (file,) = (tmp_path / "logs").iterdir()
    (line,) = written(tmp_path)
    assert file.name == f"glimt-{line['timestamp'][:10]}.log"
    assert file.stat().st_mode & 0o777 == 0o600
    assert datetime.fromisoformat(line.pop("timestamp")).utcoffset() == datetime.now(UTC).utcoffset()
    assert line == {"level": "info", "logger": "service.test", "event": "model loaded", "model": "resnet50", "batch": 8}


def test_a_console_that_is_no_terminal_gets_json(tmp_path: Path) -> None:
    """auto: a container's log is for machines."""
    with logs(tmp_path) as (log, console):
        log.info("ready")
    assert [orjson.loads(console.getvalue())] == written(tmp_path)


def test_a_readable_console(tmp_path: Path) -> None:
    """log_format=console: words for people, JSON stays in the file."""
    with logs(tmp_path, log_format="console") as (log, console):
        log.info("ready", port=8000)
    assert "ready" in console.getvalue()
    assert "port=8000" in console.getvalue()
    assert not console.getvalue().startswith("{")


def test_control_codes_do_not_reach_the_terminal(tmp_path: Path) -> None:
    """A file name with escape codes cannot repaint the operator's screen or forge a line."""
    with logs(tmp_path, log_format="console") as (log, console):
        log.info("refused", name="a\x1b[2Jb\rc")
    assert "\x1b" not in console.getvalue()
    assert "\r" not in console.getvalue()


def test_secrets_and_bytes_are_never_written(tmp_path: Path) -> None:
    """Whatever a caller passes by mistake, at any depth: by name for secrets, by type for bytes."""
    with logs(tmp_path) as (log, console):
        log.info(
            "request",
            password="hunter2",
            headers={"Authorization": "Bearer hunter2", "Cookie": "hunter2", "deep": [{"api_key": "hunter2"}]},
            access_token="hunter2",
            body=b"hunter2",
            parts=[bytearray(b"hunter2"), memoryview(b"hunter2")],
        )
    (line,) = written(tmp_path)
    assert "hunter2" not in str(line)
    assert "hunter2" not in console.getvalue()
    assert (line["password"], line["body"]) == ("[redacted]", "<7 bytes>")


def test_lines_are_bounded(tmp_path: Path) -> None:
    """A megabyte of text, a list without end and a nest of dictionaries become one modest line."""
    nest: dict[str, Any] = {}
    nest["again"] = nest
    with logs(tmp_path) as (log, _):
        log.info("x", text="y" * 1_000_000, items=list(range(100_000)), nest=nest)
    assert sum(file.stat().st_size for file in (tmp_path / "logs").iterdir()) < 20_000


def test_a_stack_trace_is_written(tmp_path: Path) -> None:
    """exception() of ours and of any library: type, words and lines, but no local variables."""
    hidden = "local value"
    with logs(tmp_path, log_format="console") as (log, console):
        for logger in (log, logging.getLogger("alembic")):
            try:
                raise ValueError(hidden[:5])
            except ValueError:
                logger.exception("failed")
    for line in written(tmp_path):
        assert "Traceback" in line["exception"]
        assert "ValueError: local" in line["exception"]
    assert len(written(tmp_path)) == 2
    assert "ValueError: local" in console.getvalue()
    assert hidden not in console.getvalue()


def test_libraries_are_written_alike(tmp_path: Path) -> None:
    """uvicorn and alembic from the chosen level on, others only from warning on, access lines not at all."""
    with logs(tmp_path):
        logging.getLogger("uvicorn.error").info("started on %s", "port 1")
        logging.getLogger("uvicorn.access").info("GET /?token=secret")
        logging.getLogger("httpx2").info("GET https://example.org/?token=secret")
        logging.getLogger("PIL").warning("odd picture")
    assert [(line["logger"], line["level"], line["event"]) for line in written(tmp_path)] == [
        ("uvicorn.error", "info", "started on port 1"),
        ("PIL", "warning", "odd picture"),
    ]


def test_the_request_id_is_on_every_line(tmp_path: Path) -> None:
    """Bound once, it is on our lines and on the libraries' lines of that request, and gone after it."""
    with logs(tmp_path) as (log, _):
        with structlog.contextvars.bound_contextvars(request_id="r1"):
            log.info("ours")
            logging.getLogger("alembic").warning("theirs")
        log.info("after")
    assert [line.get("request_id") for line in written(tmp_path)] == ["r1", "r1", None]


def test_lines_below_the_level_are_not_written(tmp_path: Path) -> None:
    """log_level=warning."""
    with logs(tmp_path, log_level="warning") as (log, _):
        log.info("no")
        log.warning("yes")
    assert [line["event"] for line in written(tmp_path)] == ["yes"]


def test_leaving_gives_logging_back(tmp_path: Path) -> None:
    """Handlers, levels and threads are as before: another start in the same process begins clean."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers), set(threading.enumerate()))
    with logs(tmp_path):
        assert set(threading.enumerate()) > before[2]
    assert (root.level, list(root.handlers), set(threading.enumerate())) == before
    assert not structlog.is_configured()


class _Stuck(logging.Handler):
    """A console nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.gate = threading.Event()
        self.written: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.reached.set()
        self.gate.wait()
        self.written.append(dict(vars(record))["msg"]["event"])


def test_a_stuck_console_drops_and_counts_instead_of_blocking(capsys: pytest.CaptureFixture[str]) -> None:
    """With room for 10 lines and nothing written, 20 more calls return, 10 are dropped, and the count is told."""
    stuck = _Stuck()
    with Logging(logging.INFO, (stuck,), queue_lines=10) as logging_:
        log = structlog.get_logger("service.test")
        log.info("first")
        stuck.reached.wait()
        for number in range(20):
            log.info(str(number))
        assert logging_.dropped == 10
        stuck.gate.set()
    assert stuck.written == ["first", *map(str, range(10))]
    assert "10 log lines were dropped" in capsys.readouterr().err


def record_of(day: str) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": day, "created": datetime.fromisoformat(f"{day}T12:00+00:00").timestamp()})


def test_a_new_file_at_midnight_utc_and_fourteen_kept(tmp_path: Path) -> None:
    """Each line goes to the file of its day; the oldest files go; files of others stay."""
    (tmp_path / "notes.txt").touch()
    days = [f"2026-01-{day:02}" for day in range(1, 21)]
    file = DailyFile(tmp_path)
    for day in days:
        file.handle(record_of(day))
    file.close()
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == [*(f"glimt-{day}.log" for day in days[-KEPT_FILES:]), "notes.txt"]
    assert (tmp_path / "glimt-2026-01-20.log").read_text() == "2026-01-20\n"


def test_a_log_that_cannot_be_written_is_told_once_and_stops_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """T16: the disk is full or the folder is not ours; the service goes on."""
    (tmp_path / "logs").touch()
    file = DailyFile(tmp_path / "logs")
    for _ in range(3):
        file.handle(record_of("2026-01-01"))
    file.close()
    assert capsys.readouterr().err.count("cannot be written") == 1
