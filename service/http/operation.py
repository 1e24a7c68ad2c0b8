"""What a handler says about itself for the OpenAPI document. It changes nothing of how the handler runs.

    @Operation("feedback", {201: {JSON: FeedbackDocument}}, body={JSON: FeedbackBody}, errors=(Conflict,))
    async def create(self, request: Request) -> Response:
        \"\"\"Say whether an answer was right. This first sentence is the summary, all of it the description.\"\"\"

What follows from the route itself is added by openapi.py: path parameters, who may come in, and the errors of that.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from service.errors import (
    BadRequest,
    BodyTooLarge,
    DeadlineExceeded,
    Draining,
    EngineFailed,
    GlimtError,
    ImageCorrupt,
    ImageTooLarge,
    ImageTooManyPixels,
    ImageTypeUnsupported,
    NotReady,
    QueueFull,
    StoreFull,
)

JSON = "application/json"
NDJSON = "application/x-ndjson"
PROBLEM = "application/problem+json"
HTML = "text/html"
TEXT = "text/plain"
MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
PICTURE = "image/*"
CSV = "text/csv"
ZIP = "application/zip"
TAR = "application/x-tar"

Kind = Any
"""What pydantic can describe: a model, a dataclass, `list[Model]`, `Literal`, str, bytes."""
Content = Mapping[str, Kind]
"""A media type and what is sent as it. With NDJSON, the kind of one line."""
Errors = tuple[type[GlimtError], ...]
Handler = TypeVar("Handler", bound=Callable[..., Any])

PAGE: dict[int, Content] = {200: {HTML: str}}
GO: dict[int, Content] = {303: {}}
"""To the page that is named by Location."""
PICTURE_ERRORS: Errors = (
    BadRequest, BodyTooLarge, ImageTooLarge, ImageTypeUnsupported, ImageCorrupt, ImageTooManyPixels,
    QueueFull, NotReady, Draining, EngineFailed, DeadlineExceeded,
)  # fmt: skip
WRITE_ERRORS: Errors = (StoreFull, Draining)


@dataclass(frozen=True)
class Header:
    """One of a request or of an answer. `schema` is JSON Schema."""

    name: str
    description: str
    schema: Mapping[str, Any]
    always: bool = False


REQUEST_ID = Header(
    "X-Request-ID",
    "Finds this request in the log; a client's own is taken.",
    {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    always=True,
)
RETRY_AFTER = Header("Retry-After", "Seconds until it is worth trying again.", {"type": "integer", "minimum": 1}, True)
SERVER_TIMING = Header(
    "Server-Timing", "Milliseconds spent decoding, waiting, computing, and in all; on JSON.", {"type": "string"}
)
SET_COOKIE = Header("Set-Cookie", "The session, or its end.", {"type": "string"})
LOCATION = Header("Location", "Where to go on, with GET.", {"type": "string"}, always=True)
WWW_AUTHENTICATE = Header("WWW-Authenticate", "How to come in.", {"type": "string"}, always=True)
ETAG = Header("ETag", "Another document has another.", {"type": "string"}, always=True)
IF_NONE_MATCH = Header("If-None-Match", "The ETag of the document one has already.", {"type": "string"})
X_COMPLETE = Header(
    "X-Complete", "true: the job is done, and these are all answers.", {"enum": ["true", "false"]}, True
)
IDEMPOTENCY_KEY = Header(
    "Idempotency-Key",
    "A key of one's own, a UUID say: feedback with it is stored once; sent again it is a 200 with that row. It is "
    "known per account (all who are not signed in share theirs) as long as the row; with other content it is a 409.",
    {"type": "string", "pattern": "^[!-~]{1,200}$"},
)


@dataclass(frozen=True)
class Operation:
    """The decorator, which only attaches itself. `takes` are headers of requests, `sends` of answers below 400."""

    tag: str
    answers: Mapping[int, Content]
    query: type[BaseModel] | None = None
    body: Content = field(default_factory=dict)
    errors: Errors = ()
    takes: tuple[Header, ...] = ()
    sends: tuple[Header, ...] = ()

    def __call__(self, handler: Handler) -> Handler:
        vars(handler)["operation"] = self
        return handler


def form(model: type[BaseModel]) -> Content:
    """A form without files, as browsers and programs send it."""
    return {MULTIPART: model, URLENCODED: model}


def operation_of(handler: Callable[..., Any]) -> Operation | None:
    """What was attached, None when nothing was."""
    return getattr(handler, "operation", None)
