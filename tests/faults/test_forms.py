"""T5, T44, T45: bodies without an end, forms and JSON made to hurt: refused in bounded work, in words, never a 500."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from starlette.requests import Request

from service.app import Glimt
from service.errors import BadRequest, BodyTooLarge, GlimtError
from service.http.access import Door
from service.http.multipart import MAX_FIELDS_BYTES, MAX_PREAMBLE_BYTES, SLACK_BYTES
from service.http.operation import JSON, MULTIPART, URLENCODED, operation_of
from service.http.uploads import pass_file, read_form
from tests.world import in_process, make_app, signed_in

KIND = "multipart/form-data; boundary=frontier"
CHUNK = 64 * 1024
Reader = Callable[[Request], Awaitable[None]]


def part(headers: bytes, data: bytes = b"x") -> bytes:
    return b"--frontier\r\n" + headers + b"\r\n\r\n" + data + b"\r\n"


FIELD = part(b'Content-Disposition: form-data; name="a"')
FILE = part(b'Content-Disposition: form-data; name="file"; filename="a.png"')
NO_FILE = part(b'Content-Disposition: form-data; name="file"; filename=""', b"")
ATTACKS = {
    "1e5 fields": (FIELD * 100_000, BodyTooLarge),
    "1e5 files": (FILE * 100_000, BodyTooLarge),
    "1e5 empty files": (NO_FILE * 100_000, BodyTooLarge),
    "1e5 headers in a part": (b"--frontier\r\n" + b"X: y\r\n" * 100_000, BadRequest),
    "endless header": (b"--frontier\r\nX: " + b"y" * 10_000_000, BadRequest),
    "endless name of a header": (b"--frontier\r\n" + b"y" * 10_000_000, BadRequest),
    "endless preamble": (b"\r\n" + b"y" * 10_000_000, BadRequest),
    "endless preamble of dashes": (b"\r\n" + b"-" * 10_000_000, BadRequest),
    "large fields": (part(b'Content-Disposition: form-data; name="a"', b"x" * 60_000) * 50, BodyTooLarge),
    "no end": (FIELD, BadRequest),
}


async def read_of(body: bytes, reader: Reader, kind: str = KIND) -> tuple[GlimtError, int]:
    """What the reader raises, and how many bytes it took until then."""
    chunks: Iterator[bytes] = (body[start : start + CHUNK] for start in range(0, len(body), CHUNK))
    read = 0

    async def receive() -> dict[str, object]:
        nonlocal read
        chunk = next(chunks, b"")
        read += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

    headers = [(b"content-type", kind.encode())]
    with pytest.raises(GlimtError) as raised:
        await reader(Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive))
    return raised.value, read


async def form(request: Request) -> None:
    await read_form(request, max_files=9, max_file_bytes=1000)


async def archive(request: Request) -> None:
    async def take(_piece: bytes) -> None:
        """To the disk."""

    await pass_file(request, take)


@pytest.mark.parametrize("attack", ATTACKS)
async def test_t44_a_form_made_to_hurt_is_not_read_far(attack: str) -> None:
    """Refused after the limit that it breaks and a chunk, however much would follow."""
    body, expected = ATTACKS[attack]
    error, read = await read_of(body, form)
    assert isinstance(error, expected)
    assert read <= MAX_FIELDS_BYTES + MAX_PREAMBLE_BYTES + 2 * CHUNK


@pytest.mark.parametrize("attack", ATTACKS)
async def test_t44_nor_is_one_that_brings_an_archive(attack: str) -> None:
    """The other reader holds no file, and gives up after what may stand beside one."""
    error, read = await read_of(ATTACKS[attack][0], archive)
    assert isinstance(error, BadRequest | BodyTooLarge)
    assert read <= SLACK_BYTES + 2 * CHUNK


@pytest.mark.parametrize("reader", [form, archive])
@pytest.mark.parametrize("kind", ["form-data", f"form-data; boundary={'x' * 71}", "mixed; boundary=frontier"])
async def test_t44_without_a_boundary_nothing_is_read(reader: Reader, kind: str) -> None:
    """The header alone is a 400, in words."""
    error, read = await read_of(FILE + b"--frontier--", reader, f"multipart/{kind}")
    assert (error.status, read) == (400, 0)
    assert "boundary of 1 to 70 characters" in error.detail


@pytest.mark.parametrize("body", [b"a=b&" * 10_000, b"a=\xff"], ids=["1e4 fields", "not ASCII"])
async def test_t44_a_form_without_files_is_bounded_too(body: bytes) -> None:
    """Fields that fit in few bytes, and bytes that are no text: a 400, in words."""
    error, _ = await read_of(body, form, URLENCODED)
    assert (error.status, error.detail[:24]) == (400, "The form cannot be read:")


JSON_ATTACKS = {
    "deep list": b"[" * 60_000,
    "deep object": b'{"a":' * 12_000,
    "NaN": b'{"score": NaN}',
    "infinity": b'{"score": Infinity}',
    "1e999": b'{"score": 1e999}',
    "huge integer": b'{"score": ' + b"9" * 5000 + b"}",
    "twice the same key": b'{"name": "a", "name": 1, "score": 0.5, "score": "x"}',
    "bad UTF-8": b'{"name": "\xff\xfe"}',
    "half a surrogate": b'{"name": "\\ud800"}',
    "NUL": b'{"name": "\\u0000"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "nothing": b"",
    "not an object": b"7",
    "cut off": b'{"name": "a',
}


def bodies(app: Glimt) -> list[tuple[str, str, str]]:
    """Method, path and media type of all that takes a body, by what it says about itself."""
    doors = [route for route in app.routes if isinstance(route, Door)]
    said = [(min(door.methods or ()), door.path, operation_of(door.endpoint)) for door in doors]
    return [(method, re.sub(r"{\w+:id}", "1", path), kind) for method, path, it in said if it for kind in it.body]


async def test_t45_json_made_to_hurt_is_a_clients_error(tmp_path: Path) -> None:
    """Each at each address that takes JSON: 4xx in the envelope, in words, none a 500, and nothing is stored."""
    app = make_app(tmp_path)
    async with in_process(app) as client:
        headers = await signed_in(app, role="admin") | {"content-type": JSON}
        addresses = [(method, path) for method, path, kind in bodies(app) if kind == JSON]
        assert ("POST", "/feedback/") in addresses
        for method, path in addresses:
            for name, body in JSON_ATTACKS.items():
                answer = await client.request(method, path, content=body, headers=headers)
                assert 400 <= answer.status_code < 500, (method, path, name, answer.text)
                assert answer.headers["content-type"] == "application/problem+json"
                assert " " in answer.json()["detail"], (method, path, name, answer.text)
        stored = [
            await client.get(path, headers=headers) for path in ("/feedback", "/api/tokens", "/api/jobs", "/user/")
        ]
    assert [len(rows.json()) for rows in stored] == [0, 0, 0, 1]


class Zeros:
    """A body without an end, be it a form's file, and how much of it was taken."""

    def __init__(self, kind: str) -> None:
        self.taken = 0
        self._begin = FILE[: -len(b"x\r\n")] if kind == MULTIPART else b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._begin
        while self.taken < 3 * SLACK_BYTES:
            self.taken += CHUNK
            yield bytes(CHUNK)


async def test_t5_no_address_takes_an_endless_body(tmp_path: Path) -> None:
    """Each that takes a body at all, in each way it does: 413 after its limit, and what it passes over beyond that."""
    app = make_app(tmp_path, max_image_bytes=CHUNK, max_zip_bytes=SLACK_BYTES)
    async with in_process(app) as client:
        who = await signed_in(app, role="admin")
        for method, path, kind in bodies(app):
            zeros, sent = Zeros(kind), KIND if kind == MULTIPART else kind.replace("*", "png")
            answer = await client.request(method, path, content=zeros, headers=who | {"content-type": sent})
            assert answer.status_code == 413, (method, path, kind, answer.text)
            assert zeros.taken <= SLACK_BYTES + 3 * CHUNK, (method, path, kind)
