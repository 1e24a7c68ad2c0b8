"""Pictures out of a request body as they arrive, with every limit counted while reading."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from service.errors import BadRequest, BodyTooLarge, ClientGone, ImageTooLarge
from service.inference.admission import Share

MAX_FIELD_BYTES = 64 * 1024  # of one text field; a comment is at most a page
MAX_FIELDS = 64
MAX_FIELDS_BYTES = 256 * 1024  # of all text fields of a form
MAX_URLENCODED_BYTES = 64 * 1024  # of a form without files
SLACK_BYTES = 1024 * 1024  # read of a picture over the limit, so that its neighbours in the form are still answered
MAX_HEADER_BYTES = 8 * 1024  # of one part: a name and a file name
MAX_PREAMBLE_BYTES = 8 * 1024  # before the first part; no program that makes forms writes any


@dataclass(frozen=True, slots=True)
class Upload:
    """One picture of a form. When `error` is set the picture was too large: `data` is empty, the rest goes on."""

    field: str
    filename: str
    data: bytes
    error: ImageTooLarge | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One text field of a form."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Form:
    """A whole form, read."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[Upload] = field(default_factory=list)


def too_large(max_bytes: int) -> ImageTooLarge:
    """The error for a picture over the limit."""
    return ImageTooLarge(
        f"The picture has more than {max_bytes:,} bytes, the limit. Send a smaller one or raise GLIMT_MAX_IMAGE_BYTES."
    )


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
    reader = _PartReader(_boundary(request), max_file_bytes, check_name)
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


async def pass_file(request: Request, take: Callable[[bytes], Awaitable[None]]) -> str:
    """Give the bytes of the body's one file to `take` as they arrive; the file's name, "" without one.

    The file is the whole body, or the part of a multipart form that has a file name. Its bytes are not held and not
    counted here. Raises what `take` raises, BadRequest also for a second file, BodyTooLarge, ClientGone.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        async for chunk in _stream(request):
            await take(chunk)
        return ""
    reader, overhead = _FileReader(_boundary(request)), 0
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
    return BodyTooLarge(
        f"The form has more than {max_files} picture{'' if max_files == 1 else 's'}, the limit. Send several forms, "
        "or a stream: POST /predict with Accept: application/x-ndjson has no such limit."
    )


def digits(header: str | None) -> str:
    """A number that a client sent, "0" for anything else."""
    return header if header and header.isdecimal() and len(header) < 19 else "0"


async def _stream(request: Request, share: Share | None = None) -> AsyncIterator[bytes]:
    try:
        if share:
            await share.room()
        async for chunk in request.stream():
            if chunk:
                yield chunk
            if share:
                await share.room()
    except ClientDisconnect as error:
        raise ClientGone("The client left while it sent its request.") from error


async def _fed(reader: "_PartReader", request: Request, share: Share | None = None) -> AsyncIterator[int]:
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


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 70:  # RFC 2046 5.1.1
        raise BadRequest("Send multipart/form-data with a boundary of 1 to 70 characters.")
    return boundary


def _filename(options: dict[bytes, bytes]) -> str | None:
    """The file name, also from the extended form of RFC 5987 (filename*=utf-8''...); None for a text field."""
    if b"filename" in options:
        return options[b"filename"].decode(errors="replace")
    if b"filename*" in options:
        return unquote(options[b"filename*"].rsplit(b"'", 1)[-1].decode("ascii", "replace"))
    return None


class _PartReader:
    """The callbacks of the multipart parser; finished parts wait in `finished`."""

    def __init__(self, boundary: bytes, max_file_bytes: int, check_name: Callable[[str], None]) -> None:
        self.finished: deque[Upload | Field] = deque()
        self.complete = False
        self._max_file_bytes = max_file_bytes
        self._check_name = check_name
        self._fields = self._fields_bytes = 0
        self._preamble: int | None = 0  # bytes of it; None once a part has begun
        self._reset()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._on_header_name,
                "on_header_value": self._on_header_value,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._on_data,
                "on_part_end": self._part_ends,
                "on_end": self._on_end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        self._parser.write(chunk)
        if self._preamble is not None:
            self._preamble += len(chunk)
            if self._preamble > MAX_PREAMBLE_BYTES:
                raise BadRequest(f"No part begins in the first {MAX_PREAMBLE_BYTES:,} bytes of the form.")

    @property
    def held(self) -> int:
        """Bytes of the part that is being read."""
        return self._size if self._chunks else 0

    def _part_begins(self) -> None:
        self._preamble = None
        self._reset()

    def _reset(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._header_name, self._header_value = b"", b""
        self._name = ""
        self._filename: str | None = None
        self._chunks: list[bytes] = []
        self._size = 0

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += self._bounded(data[start:end])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += self._bounded(data[start:end])

    def _bounded(self, piece: bytes) -> bytes:
        self._size += len(piece)
        if self._size > MAX_HEADER_BYTES:
            raise BadRequest(f"A part's headers have more than {MAX_HEADER_BYTES} bytes.")
        return piece

    def _header_ends(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name, self._header_value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise BadRequest('A part has no name; each needs Content-Disposition: form-data; name="...".')
        self._name = options[b"name"].decode(errors="replace")
        self._filename = _filename(options)
        self._size = 0
        if self._filename:
            self._check_name(self._filename)

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._filename is None and self._size > MAX_FIELD_BYTES:
            raise BodyTooLarge(f"The field {self._name!r} has more than {MAX_FIELD_BYTES:,} bytes, the limit.")
        if self._filename is not None and self._size > self._max_file_bytes + SLACK_BYTES:
            raise too_large(self._max_file_bytes)
        if self._filename is None or self._size <= self._max_file_bytes:
            self._chunks.append(data[start:end])
        else:
            self._chunks.clear()

    def _part_ends(self) -> None:
        if self._filename is not None:
            fits = self._size <= self._max_file_bytes
            error = None if fits else too_large(self._max_file_bytes)
            self.finished.append(Upload(self._name, self._filename, b"".join(self._chunks), error))
            return
        self._fields += 1
        self._fields_bytes += self._size
        if self._fields > MAX_FIELDS or self._fields_bytes > MAX_FIELDS_BYTES:
            raise BodyTooLarge(
                f"The form has more than {MAX_FIELDS} fields, or they more than {MAX_FIELDS_BYTES:,} bytes: the limits."
            )
        self.finished.append(Field(self._name, b"".join(self._chunks).decode(errors="replace")))

    def _on_end(self) -> None:
        self.complete = True


class _FileReader(_PartReader):
    """Passes on the bytes of the form's one file; text fields are read and forgotten."""

    def __init__(self, boundary: bytes) -> None:
        super().__init__(boundary, 0, lambda filename: None)
        self.name = ""
        self._passing = bytearray()
        self._begun = False

    def passed(self) -> bytes:
        """What came of the file since the last time."""
        passed = bytes(self._passing)
        self._passing.clear()
        self.finished.clear()
        return passed

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._filename is None:
            super()._on_data(data, start, end)
            return
        if not self._size:
            if self._begun:
                raise BadRequest("The form has more than one file. Send one at a time.")
            self._begun, self.name = True, self._filename
        self._size += end - start
        self._passing += data[start:end]

    def _part_ends(self) -> None:
        if self._filename is None:
            super()._part_ends()
