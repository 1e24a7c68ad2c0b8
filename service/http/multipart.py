"""The multipart format: chunks of a body go in, whole parts come out, with every limit counted on the way. Pure."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import BadRequest, BodyTooLarge, ImageTooLarge

MAX_FIELD_BYTES = 64 * 1024  # of one text field; a comment is at most a page
MAX_FIELDS = 64
MAX_FIELDS_BYTES = 256 * 1024  # of all text fields of a form
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


def too_large(max_bytes: int) -> ImageTooLarge:
    """The error for a picture over the limit."""
    return ImageTooLarge(
        f"The picture has more than {max_bytes:,} bytes, the limit. Send a smaller one or raise GLIMT_MAX_IMAGE_BYTES."
    )


def boundary(content_type: str) -> bytes:
    """What stands between the parts, by the header. Raises BadRequest."""
    kind, options = parse_options_header(content_type)
    found = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(found) <= 70:  # RFC 2046 5.1.1
        raise BadRequest(
            "Send multipart/form-data with a boundary of 1 to 70 characters; a form without files may also be "
            "application/x-www-form-urlencoded."
        )
    return found


def _filename(options: dict[bytes, bytes]) -> str | None:
    """The file name, also from the extended form of RFC 5987 (filename*=utf-8''...); None for a text field."""
    if b"filename" in options:
        return options[b"filename"].decode(errors="replace")
    if b"filename*" in options:
        return unquote(options[b"filename*"].rsplit(b"'", 1)[-1].decode("ascii", "replace"))
    return None


class PartReader:
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
        """Read on. Raises MultipartParseError, BadRequest, BodyTooLarge, ImageTooLarge and what `check_name` raises."""
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


class FileReader(PartReader):
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
