"""T44, T45: forms and JSON made to hurt are refused in bounded work, in words; none is a 500."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from starlette.requests import Request

from service.errors import BadRequest, BodyTooLarge
from service.http.multipart import MAX_FIELDS_BYTES, MAX_PREAMBLE_BYTES
from service.http.uploads import read_form
from tests.world import in_process, make_app, operator, signed_in

KIND = "multipart/form-data; boundary=frontier"
CHUNK = 64 * 1024


def part(headers: bytes, data: bytes = b"x") -> bytes:
    return b"--frontier\r\n" + headers + b"\r\n\r\n" + data + b"\r\n"


FIELD = part(b'Content-Disposition: form-data; name="a"')
FILE = part(b'Content-Disposition: form-data; name="file"; filename="a.png"')
ATTACKS = {
    "1e5 fields": (FIELD * 100_000, BodyTooLarge),
    "1e5 files": (FILE * 100_000, BodyTooLarge),
    "1e5 headers in a part": (b"--frontier\r\n" + b"X: y\r\n" * 100_000, BadRequest),
    "endless header": (b"--frontier\r\nX: " + b"y" * 10_000_000, BadRequest),
    "endless name of a header": (b"--frontier\r\n" + b"y" * 10_000_000, BadRequest),
    "endless preamble": (b"\r\n" + b"y" * 10_000_000, BadRequest),
    "endless preamble of dashes": (b"\r\n" + b"-" * 10_000_000, BadRequest),
    "large fields": (part(b'Content-Disposition: form-data; name="a"', b"x" * 60_000) * 50, BodyTooLarge),
    "no end": (FIELD, BadRequest),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_t44_a_form_made_to_hurt_is_not_read_far(attack: str) -> None:
    """Refused after the limit that it breaks and a chunk, however much would follow."""
    body, error = ATTACKS[attack]
    chunks: Iterator[bytes] = (body[start : start + CHUNK] for start in range(0, len(body), CHUNK))
    read = 0

    async def receive() -> dict[str, object]:
        nonlocal read
        chunk = next(chunks, b"")
        read += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

    headers = [(b"content-type", KIND.encode())]
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)
    with pytest.raises(error):
        await read_form(request, max_files=9, max_file_bytes=1000)
    assert read <= MAX_FIELDS_BYTES + MAX_PREAMBLE_BYTES + 2 * CHUNK


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
ADDRESSES = [
    ("POST", "/feedback/"),
    ("POST", "/user/"),
    ("POST", "/api/tokens"),
    ("PUT", "/api/me/password"),
    ("PATCH", "/api/batching"),
]


async def test_t45_json_made_to_hurt_is_a_clients_error(tmp_path: Path) -> None:
    """Each at each address that takes JSON: 4xx in the envelope, none a 500, and nothing is stored."""
    app = make_app(tmp_path)
    async with in_process(app) as client:
        user, admin = await signed_in(app), operator(tmp_path)
        for method, path in ADDRESSES:
            for name, body in JSON_ATTACKS.items():
                headers = (admin if path == "/api/batching" else user) | {"content-type": "application/json"}
                answer: httpx2.Response = await client.request(method, path, content=body, headers=headers)
                assert 400 <= answer.status_code < 500, (method, path, name, answer.text)
                assert answer.headers["content-type"] == "application/problem+json"
