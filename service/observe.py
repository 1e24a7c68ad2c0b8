"""Logs: one structure, two places. Readable on a terminal or JSON lines, and dated JSON files in the data folder.

Whoever logs only puts a dictionary into a bounded queue; a thread of ours renders and writes. When the queue is
full, lines are dropped and counted: a slow disk or a stopped terminal must not slow an answer.
Never in the log: bytes, passwords, tokens, cookies.
"""

import logging
import os
import queue
import re
import sys
import time
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

from service.settings import Settings

KEPT_FILES = 14
_QUEUE_LINES = 10_000
_STOP_S = 5.0
"""What cannot be written within this is given up at shutdown: a full pipe must not keep the process."""
_NAP_S = 0.05
_MAX_TEXT_CHARS = 8_000
_MAX_ITEMS = 50
_MAX_DEPTH = 4
_SECRET = re.compile(r"passw|secret|token|authorization|cookie|api_?key|credential", re.IGNORECASE)
_OWN_LOGGERS = ("service", "uvicorn")
"""Logged from the chosen level on; all other libraries only from warning on (some of them log URLs and SQL)."""


class Logging:
    """`with configure_logging(settings) as logs`. Leaving writes what is queued and gives logging back as it was."""

    def __init__(self, level: int, sinks: tuple[logging.Handler, ...], queue_lines: int = _QUEUE_LINES) -> None:
        self._level = level
        self._sinks = sinks
        self._lines: queue.Queue[Any] = queue.Queue(queue_lines)
        self._handler = _Enqueue(self._lines)
        self._listener = _Listener(self._lines, *sinks)
        self._before: list[tuple[logging.Logger, int, list[logging.Handler], bool]] = []

    @property
    def dropped(self) -> int:
        """Lines lost because the queue was full."""
        return self._handler.dropped

    def __enter__(self) -> "Logging":
        structlog.configure(
            processors=[_hand_over],
            wrapper_class=structlog.make_filtering_bound_logger(self._level),
            logger_factory=structlog.stdlib.LoggerFactory(),
            cache_logger_on_first_use=True,
        )
        self._route("", max(self._level, logging.WARNING), [self._handler])
        for name in _OWN_LOGGERS:
            self._route(name, self._level, [])
        self._route("uvicorn.error", logging.NOTSET, [])
        self._route("uvicorn.access", logging.WARNING, [])  # RequestLog says it better, and without the query
        self._listener.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for logger, level, handlers, propagate in reversed(self._before):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
        structlog.reset_defaults()
        self._listener.stop()
        if self.dropped:
            print(f"{self.dropped} log lines were dropped: they could not be written in time", file=sys.stderr)
        for sink in self._sinks:
            sink.close()

    def _route(self, name: str, level: int, handlers: list[logging.Handler]) -> None:
        logger = logging.getLogger(name)
        self._before.append((logger, logger.level, logger.handlers, logger.propagate))
        logger.handlers, logger.propagate = handlers, True
        logger.setLevel(level)


def configure_logging(settings: Settings, console: TextIO | None = None) -> Logging:
    """Logs to `console` (standard error) as `settings.log_format` says, and to `logs/` in the data folder."""
    console = console or sys.stderr
    readable = settings.log_format == "console" or (settings.log_format == "auto" and console.isatty())
    to_console = logging.StreamHandler(console)
    to_console.setFormatter(_Readable(colors=console.isatty()) if readable else _JsonLine())
    to_file = DailyFile(settings.data_path / "logs")
    to_file.setFormatter(_JsonLine())
    return Logging(logging.getLevelNamesMapping()[settings.log_level.upper()], (to_console, to_file))


class DailyFile(logging.Handler):
    """`glimt-YYYY-MM-DD.log` in `folder`, a new one at midnight UTC, the newest 14 kept."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._day = ""
        self._file: TextIO | None = None
        self._told = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            day = datetime.fromtimestamp(record.created, UTC).date().isoformat()
            if self._file is None or day != self._day:
                self._file = self._open(day)
            self._file.write(self.format(record) + "\n")
            self._file.flush()
        except OSError as error:
            self._tell(error)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()

    def _open(self, day: str) -> TextIO:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"glimt-{day}.log"
        file = open(path, "a", encoding="utf-8", opener=_private)  # noqa: SIM115 - open until midnight or close
        self._day = day
        for old in sorted(self._folder.glob("glimt-????-??-??.log"))[:-KEPT_FILES]:
            old.unlink(missing_ok=True)
        return file

    def _tell(self, error: OSError) -> None:
        """Once: a full disk would say it with every line. The service goes on without its log file."""
        if not self._told:
            self._told = True
            print(f"The log file in {self._folder} cannot be written: {error}", file=sys.stderr)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _hand_over(_logger: WrappedLogger, _method: str, event: EventDict) -> tuple[tuple[EventDict], dict[str, Any]]:
    """The end of structlog's chain: the dictionary becomes the message of a standard log record."""
    return (event,), {}


class _Enqueue(QueueHandler):
    """On the caller's thread, where context and exception are still at hand: record -> plain dictionary -> queue."""

    def __init__(self, lines: "queue.Queue[Any]") -> None:
        super().__init__(lines)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        given = record.msg if isinstance(record.msg, dict) else {"event": record.getMessage()}
        event: EventDict = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **structlog.contextvars.get_contextvars(),
            "exc_info": record.exc_info,
            **given,
        }
        event = dict(structlog.processors.format_exc_info(None, record.levelname, event))
        event.pop("exc_info", None)
        line = logging.makeLogRecord({"created": record.created, "levelno": record.levelno})
        line.msg = {key: _clean(key, value) for key, value in event.items()}
        return line

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _Listener(QueueListener):
    """The standard listener, but its end waits neither for a place in a full queue nor for a stuck console."""

    def __init__(self, lines: "queue.Queue[Any]", *sinks: logging.Handler) -> None:
        super().__init__(lines, *sinks)
        self._lines = lines

    def dequeue(self, block: bool) -> logging.LogRecord:
        """Sleep a little when there is nothing: woken for each line, this thread would take the interpreter from the
        event loop each time, 40 µs of a request."""
        if self._lines.empty():
            time.sleep(_NAP_S)
        line: logging.LogRecord = super().dequeue(block)
        return line

    def stop(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            self._lines.put(None, timeout=_STOP_S)  # None ends the standard listener
        except queue.Full:
            return
        thread.join(_STOP_S)


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return orjson.dumps(record.msg, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()


class _Readable(logging.Formatter):
    def __init__(self, *, colors: bool) -> None:
        super().__init__()
        # plain tracebacks: the pretty ones print local variables, and those may be anything
        self._render = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = record.msg  # type: ignore[assignment]  # a dictionary since _Enqueue
        event = {key: _printable(value) for key, value in fields.items()}
        return str(self._render(None, "", event))


def _printable(value: object) -> object:
    """Text without control codes, which a client could use to rewrite the operator's terminal."""
    if not isinstance(value, str):
        return value
    lines = (line if line.isprintable() else line.encode("unicode_escape").decode() for line in value.split("\n"))
    return "\n".join(lines)


def _clean(key: object, value: object, depth: int = 0) -> object:
    """`value` as it may be written: no secrets, no bytes, nothing endless."""
    if isinstance(key, str) and _SECRET.search(key):
        return "[redacted]"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        return {str(name): _clean(name, inner, depth + 1) for name, inner in list(value.items())[:_MAX_ITEMS]}
    if isinstance(value, list | tuple | set | frozenset) and depth < _MAX_DEPTH:
        return [_clean(None, inner, depth + 1) for inner in list(value)[:_MAX_ITEMS]]
    text = value if isinstance(value, str) else f"<{type(value).__name__}>" if depth >= _MAX_DEPTH else str(value)
    return text if len(text) <= _MAX_TEXT_CHARS else f"{text[:_MAX_TEXT_CHARS]}… ({len(text)} characters)"
