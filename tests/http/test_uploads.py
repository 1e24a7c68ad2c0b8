"""Bodies as they arrive, with every limit counted while reading."""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from service.errors import BadRequest, BodyTooLarge, ClientGone, GlimtError, ImageTooLarge
from service.http.multipart import MAX_FIELD_BYTES, MAX_HEADER_BYTES, SLACK_BYTES, Field, Upload
from service.http.uploads import pass_file, read_form, read_parts, read_raw

BOUNDARY = b"frontier"
TWO = (
    b'--frontier\r\nContent-Disposition: form-data; name="comment"\r\n\r\nhello\r\n'
    b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="a b.png"\r\nContent-Type: image/png\r\n\r\n'
    b"\x89PNG\r\n--not the boundary\r\n"
    b"--frontier--\r\n"
)


def request(
    chunks: Sequence[bytes], content_type: str = "multipart/form-data; boundary=frontier", **headers: str
) -> Request:
    """A request whose body comes in these chunks; then the client leaves."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    return with_messages(messages, content_type, **headers)


def with_messages(messages: list[dict[str, Any]], content_type: str, **headers: str) -> Request:
    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    given = {"content-type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode()) for name, value in given.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""}, receive)


async def parts_of(request: Request, max_file_bytes: int = 1000) -> list[Upload | Field]:
    return [part async for part in read_parts(request, max_file_bytes=max_file_bytes)]


EXPECTED = [Field("comment", "hello"), Upload("file", "a b.png", b"\x89PNG\r\n--not the boundary")]


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
async def test_parts_are_the_same_however_the_body_is_cut(size: int) -> None:
    """Chunk borders fall anywhere, also inside a boundary."""
    chunks = [TWO[start : start + size] for start in range(0, len(TWO), size)]
    assert await parts_of(request(chunks)) == EXPECTED


async def test_a_part_comes_before_the_next_has_arrived() -> None:
    """What is complete is handed over while the client is still sending."""
    first, rest = TWO[:120], TWO[120:]
    seen: list[str] = []

    async def chunks() -> AsyncIterator[bytes]:
        yield first
        seen.append("second chunk asked for")
        yield rest

    source = chunks()

    async def receive() -> dict[str, Any]:
        try:
            return {"type": "http.request", "body": await anext(source), "more_body": True}
        except StopAsyncIteration:
            return {"type": "http.request", "body": b"", "more_body": False}

    reading = read_parts(Request({**request([]).scope}, receive), max_file_bytes=1000)
    assert await anext(reading) == EXPECTED[0]
    assert seen == []
    assert await anext(reading) == EXPECTED[1]


async def test_a_file_over_the_limit_is_dropped_and_the_rest_read() -> None:
    """Its bytes are not kept; the part carries the error."""
    body = TWO.replace(b"\x89PNG", b"x" * 5000)
    _, upload = await parts_of(request([body]), max_file_bytes=100)
    assert isinstance(upload, Upload)
    assert isinstance(upload.error, ImageTooLarge)
    assert upload.data == b""


@pytest.mark.parametrize(
    ("body", "content_type", "error"),
    [
        pytest.param(TWO[:-20], "multipart/form-data; boundary=frontier", BadRequest, id="no closing boundary"),
        pytest.param(TWO, "multipart/form-data", BadRequest, id="no boundary named"),
        pytest.param(TWO, f"multipart/form-data; boundary={'x' * 71}", BadRequest, id="boundary too long"),
        pytest.param(TWO, "multipart/mixed; boundary=frontier", BadRequest, id="not form-data"),
        pytest.param(b"garbage", "multipart/form-data; boundary=frontier", BadRequest, id="garbage"),
        pytest.param(b"", "multipart/form-data; boundary=frontier", BadRequest, id="empty"),
        pytest.param(
            b"--frontier\r\nContent-Type: image/png\r\n\r\nx\r\n--frontier--\r\n",
            "multipart/form-data; boundary=frontier",
            BadRequest,
            id="part without a name",
        ),
        pytest.param(
            b'--frontier\r\nContent-Disposition: form-data; name="' + b"n" * MAX_HEADER_BYTES,
            "multipart/form-data; boundary=frontier",
            BadRequest,
            id="endless part header",
        ),
        pytest.param(
            TWO.replace(b"hello", b"h" * (MAX_FIELD_BYTES + 1)),
            "multipart/form-data; boundary=frontier",
            BodyTooLarge,
            id="endless field",
        ),
        pytest.param(
            (TWO[: TWO.index(b"--frontier", 5)]) * 70 + b"--frontier--",
            "multipart/form-data; boundary=frontier",
            BodyTooLarge,
            id="too many fields",
        ),
    ],
)
async def test_what_is_not_a_good_form(body: bytes, content_type: str, error: type[GlimtError]) -> None:
    """Each has a clear error, none a 500."""
    with pytest.raises(error):
        await parts_of(request([body], content_type))


async def test_form_gathers_fields_and_files() -> None:
    """An empty file input of a browser is not a picture."""
    empty = b'--frontier\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n\r\n'
    form = await read_form(request([empty + TWO]), max_files=1, max_file_bytes=1000)
    assert form.fields == {"comment": "hello"}
    assert [upload.filename for upload in form.files] == ["a b.png"]


@pytest.mark.parametrize(
    ("files", "words"), [(0, "takes no files"), (1, r"more than 1 picture, the limit\. .*x-ndjson")]
)
async def test_form_with_too_many_files_is_refused(files: int, words: str) -> None:
    """The limit and the way out are in the words."""
    part = b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="one.png"\r\n\r\npng\r\n'
    with pytest.raises(BodyTooLarge, match=words):
        await read_form(request([part + TWO]), max_files=files, max_file_bytes=1000)


async def test_raw_body() -> None:
    """The bytes as they are."""
    assert await read_raw(request([b"ab", b"cd"], "image/png"), max_bytes=4) == b"abcd"


async def test_raw_body_over_the_limit_is_not_read_to_the_end() -> None:
    """An endless body ends at the limit plus one chunk."""
    chunks = [b"x" * 10] * 100
    endless = request(chunks, "image/png")
    with pytest.raises(ImageTooLarge):
        await read_raw(endless, max_bytes=25)


async def test_announced_length_over_the_limit_is_refused_unread() -> None:
    """Content-Length alone is enough to refuse."""

    async def receive() -> dict[str, Any]:
        raise AssertionError("read although the length was announced")

    told = Request({**request([], "image/png", content_length="26").scope}, receive)
    with pytest.raises(ImageTooLarge):
        await read_raw(told, max_bytes=25)


async def test_client_that_leaves_half_way() -> None:
    """Becomes ClientGone, for the log."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": TWO[:50], "more_body": True},
        {"type": "http.disconnect"},
    ]
    with pytest.raises(ClientGone):
        await parts_of(with_messages(messages, "multipart/form-data; boundary=frontier"))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, len(TWO)), st.integers(1, 50))
async def test_any_bytes_give_parts_or_a_client_error(noise: bytes, at: int, size: int) -> None:
    """Noise inside a form never becomes a fault of ours."""
    body = TWO[:at] + noise + TWO[at:]
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    with suppress(BadRequest, BodyTooLarge):
        await parts_of(request(chunks))


async def passed(request: Request) -> tuple[str, list[bytes]]:
    """The name that `pass_file` returns, and what it passed on."""
    pieces: list[bytes] = []

    async def take(piece: bytes) -> None:
        pieces.append(piece)

    return await pass_file(request, take), pieces


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
async def test_a_file_is_passed_on_as_it_comes(size: int) -> None:
    """Its bytes and its name, however the body is cut; text fields are not in it."""
    chunks = [TWO[start : start + size] for start in range(0, len(TWO), size)]
    name, pieces = await passed(request(chunks))
    assert (name, b"".join(pieces)) == ("a b.png", b"\x89PNG\r\n--not the boundary")


async def test_a_raw_body_is_the_file() -> None:
    """Chunk for chunk, without a name."""
    assert await passed(request([b"one", b"two"], "application/zip")) == ("", [b"one", b"two"])


async def test_a_file_is_not_held() -> None:
    """Of a part that is far larger than any limit, each chunk is passed on before the next is read."""
    head = b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
    _, pieces = await passed(request([head, *[bytes(65_536)] * 50, b"\r\n--frontier--\r\n"]))
    assert len(pieces) >= 50
    assert max(map(len, pieces)) <= 2 * 65_536


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (TWO.replace(b'name="comment"', b'name="b"; filename="b"'), BadRequest, "more than one file"),
        (TWO[:-8], BadRequest, "ends before"),
        (b"no form at all", BadRequest, "cannot be read"),
    ],
)
async def test_a_form_with_a_file_that_cannot_be_taken(body: bytes, error: type[GlimtError], words: str) -> None:
    """Said in words, as of any form."""
    with pytest.raises(error, match=words):
        await passed(request([body]))


async def test_a_form_that_never_comes_to_its_file() -> None:
    """What stands beside the file is bounded."""
    field = b'--frontier\r\nContent-Disposition: form-data; name="n"; filename=""\r\n\r\n\r\n'
    with pytest.raises(BodyTooLarge, match="too much beside its file"):
        await passed(request([field * 1000] * (2 + SLACK_BYTES // len(field * 1000))))
