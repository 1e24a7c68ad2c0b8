"""Pictures out of a request body as they arrive, with every limit counted while reading."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from python_multipart.exceptions import MultipartParseError
from starlette.requests import ClientDisconnect, Request

from service.accounts.rates import caller
from service.counting import counted
from service.errors import BadRequest, BodyTooLarge, ClientGone
from service.http.multipart import (
    MAX_FIELD_BYTES,
    MAX_FIELDS,
    SLACK_BYTES,
    Field,
    FileReader,
    PartReader,
    Upload,
    boundary,
    too_large,
)
from service.inference.admission import Share

MAX_URLENCODED_BYTES = 64 * 1024  # of a form without files


@dataclass(frozen=True, slots=True)
class Form:
    """A whole form, read."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[Upload] = field(default_factory=list)


def announced(headers: Iterable[tuple[bytes, bytes]], most: int = 10**18) -> int:
    """The length of the body in bytes as its sender says it, 0 if it does not; `most` if it says more."""
    said = next((digits(value.decode("latin-1")) for name, value in headers if name == b"content-length"), "0")
    return min(int(said), most)


async def read_raw(request: Request, *, max_bytes: int, share: Share | None = None) -> bytes:
    """The whole body, at most `max_bytes` and the chunk that went over. Raises ImageTooLarge, ClientGone, and
    QueueFull when there is no room for its bytes, which are counted in `share`."""
    if int(digits(request.headers.get("content-length"))) > max_bytes:
        raise too_large(max_bytes)
    chunks, size = [], 0
    async for chunk in _stream(request, share):
        size += len(chunk)
        if size > max_bytes:
            raise too_large(max_bytes)
        if share:
            share.read(size)
        chunks.append(chunk)
    if share:
        share.keep(size)
    return b"".join(chunks)


async def read_parts(
    request: Request,
    *,
    max_file_bytes: int,
    check_name: Callable[[str], None] = lambda filename: None,
    share: Share | None = None,
) -> AsyncIterator[Upload | Field]:
    """The parts of a multipart body, each as soon as its last byte is here.

    A file a little over the limit comes as an Upload with `error`, its bytes dropped, and the rest goes on; one more
    than SLACK_BYTES over it raises ImageTooLarge. Raises BadRequest when the body is not well-formed multipart,
    BodyTooLarge for absurd fields, ClientGone when the client leaves half-way. Nothing is read behind the form's end.
    `check_name` sees each file's name, if it has one, before its bytes are read, and may raise. The bytes of files are
    counted in `share`: QueueFull when there is no room for them.
    """
    reader = PartReader(boundary(request.headers.get("content-type", "")), max_file_bytes, check_name)
    async for _ in _fed(reader, request, share):
        parts = tuple(reader.finished)
        reader.finished.clear()
        if share:
            share.keep(sum(len(part.data) for part in parts if isinstance(part, Upload)))
            share.read(reader.held)
        for part in parts:
            yield part


async def read_form(
    request: Request,
    *,
    max_files: int,
    max_file_bytes: int,
    check_name: Callable[[str], None] = lambda filename: None,
    share: Share | None = None,
) -> Form:
    """A whole form, multipart or urlencoded. Raises ImageTooLarge, BodyTooLarge and what `read_parts` raises."""
    if request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        return Form(await _read_urlencoded(request))
    form, count = Form(), 0
    async for part in read_parts(request, max_file_bytes=max_file_bytes, check_name=check_name, share=share):
        if isinstance(part, Field):
            form.fields[part.name] = part.value
            continue
        if part.error:
            raise part.error
        count += 1
        if not part.filename and not part.data and count <= MAX_FIELDS:
            continue  # an empty file input of a browser's form
        if len(form.files) == max_files:
            raise too_many(max_files)
        form.files.append(part)
    return form


async def read_fields(request: Request) -> dict[str, str]:
    """The text fields of a form without files. Raises as `read_form`."""
    return (await read_form(request, max_files=0, max_file_bytes=MAX_FIELD_BYTES)).fields


async def pass_file(request: Request, take: Callable[[bytes], Awaitable[None]]) -> str:
    """Give the bytes of the body's one file to `take` as they arrive; the file's name, "" without one.

    The file is the whole body, or the part of a multipart form that has a file name. Its bytes are not held and not
    counted here. Raises what `take` raises, BadRequest also for a second file, BodyTooLarge, ClientGone.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        async for chunk in _stream(request):
            await take(chunk)
        return ""
    reader, overhead = FileReader(boundary(request.headers.get("content-type", ""))), 0
    async for size in _fed(reader, request):
        passed = reader.passed()
        overhead += size - len(passed)
        if overhead > SLACK_BYTES:
            raise BodyTooLarge("The form has too much beside its file.")
        if passed:
            await take(passed)
    return reader.name


async def _read_urlencoded(request: Request) -> dict[str, str]:
    body = bytearray()
    async for chunk in _stream(request):
        body += chunk
        if len(body) > MAX_URLENCODED_BYTES:
            raise BodyTooLarge(
                f"The form has more than {MAX_URLENCODED_BYTES:,} bytes, the limit for one without files."
            )
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise BadRequest(f"The form cannot be read: it is no ASCII, or has more than {MAX_FIELDS} fields.") from error
    return dict(pairs)


def too_many(max_files: float) -> BodyTooLarge:
    """The error for a form with too many pictures."""
    if not max_files:
        return BodyTooLarge("This form takes no files.")
    return BodyTooLarge(
        f"The form has more than {counted(int(max_files), 'picture')}, the limit. Send several forms, "
        "or a stream: POST /predict with Accept: application/x-ndjson has no such limit."
    )


def digits(header: str | None) -> str:
    """A number that a client sent, "0" for anything else."""
    return header if header and header.isdecimal() and len(header) < 19 else "0"


async def _stream(request: Request, share: Share | None = None) -> AsyncIterator[bytes]:
    try:
        async for chunk in _awaited(request, share) if share else request.stream():
            if chunk:
                yield chunk
    except ClientDisconnect as error:
        raise ClientGone("The client left while it sent its request.") from error


async def _awaited(request: Request, share: Share) -> AsyncIterator[bytes]:
    chunks, address = aiter(request.stream()), caller(request.client.host if request.client else None)
    await share.room()
    while (chunk := await share.next(anext(chunks, None), address)) is not None:
        yield chunk
        await share.room()


async def _fed(reader: PartReader, request: Request, share: Share | None = None) -> AsyncIterator[int]:
    """Feed the reader the body up to the form's end: the size of each chunk, once it is read."""
    try:
        async for chunk in _stream(request, share):
            reader.feed(chunk)
            yield len(chunk)
            if reader.complete:
                return
    except MultipartParseError as error:
        raise BadRequest(f"The multipart body cannot be read: {error}.") from error
    raise BadRequest("The multipart body ends before its closing boundary.")
