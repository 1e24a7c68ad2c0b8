"""What our connections take for granted of uvicorn's: the names and shapes that are overridden and read."""

import asyncio
import inspect
import re

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.framing import Framed
from service.protocol import Timed
from service.writing import Taken

OVERRIDDEN = sorted(
    {
        name
        for own in (Timed, Framed, Taken)
        for name, value in vars(own).items()
        if inspect.isfunction(value) and name not in ("__init__",) and hasattr(HttpToolsProtocol, name)
    }
)
EXPECTED = {
    "_start_asgi_task", "connection_lost", "connection_made", "data_received", "on_body", "on_header",
    "on_headers_complete", "on_message_begin", "on_message_complete", "on_response_complete", "pause_writing",
    "resume_writing", "send_400_response", "shutdown", "timeout_keep_alive_handler",
}  # fmt: skip
READ = {
    HttpToolsProtocol: {
        "cycle", "flow", "headers", "loop", "parser", "pipeline", "timeout_keep_alive", "timeout_keep_alive_task",
        "transport",
    },
    RequestResponseCycle: {
        "keep_alive", "message_event", "more_body", "response_complete", "response_started", "scope",
        "waiting_for_100_continue",
    },
}  # fmt: skip


def test_what_is_overridden_is_still_there() -> None:
    """A name that uvicorn gives up would be overridden in vain: the deadlines would be gone without a word."""
    assert set(OVERRIDDEN) == EXPECTED


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_what_is_overridden_has_the_same_parameters(name: str) -> None:
    """uvicorn calls it with these."""
    own, theirs = (list(inspect.signature(getattr(cls, name)).parameters) for cls in (Timed, HttpToolsProtocol))
    assert own == theirs


@pytest.mark.parametrize("owner", READ)
def test_what_is_read_is_still_set(owner: type[object]) -> None:
    """By uvicorn itself, in the constructor."""
    assert READ[owner] <= set(inspect.unwrap(owner.__init__).__code__.co_names)


def test_uvicorn_still_calls_what_is_overridden() -> None:
    """Those that are called neither by the event loop nor by httptools."""
    source = inspect.getsource(inspect.getmodule(HttpToolsProtocol) or asyncio)
    for call in ("self._start_asgi_task(self.cycle, app)", "self.send_400_response(", "self.on_response()"):
        assert call in source


def test_what_was_written_anew_has_not_changed() -> None:
    """uvicorn's reading, which ours stands for: what it does besides feeding the parser, ours does too."""
    source = inspect.getsource(HttpToolsProtocol.data_received)
    assert set(re.findall(r"self\.\w+", source)) == {
        "self._unset_keepalive_if_required", "self.parser", "self.logger", "self.send_400_response",
        "self._should_upgrade", "self.handle_websocket_upgrade", "self._unsupported_upgrade_warning",
    }  # fmt: skip
