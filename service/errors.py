"""Every error a client or an operator can meet, with its status, stable code and public words.

    GlimtError                      500 internal
    ├── BadRequest                  400 bad_request
    │   └── EmailTaken                  email_taken
    ├── Unauthorized                401 unauthorized
    ├── Forbidden                   403 forbidden
    ├── NotFound                    404 not_found
    ├── MethodNotAllowed            405 method_not_allowed
    ├── TooSlow                     408 too_slow             (the request, not the answer)
    ├── Conflict                    409 conflict
    ├── BodyTooLarge                413 body_too_large
    ├── ArchiveTooLarge             413 archive_too_large
    ├── ArchiveInvalid              422 archive_invalid
    ├── InvalidField                422 invalid_field
    ├── ModelUnusable               422 model_unusable
    ├── ImageError
    │   ├── ImageTooLarge           413 image_too_large
    │   ├── ImageTypeUnsupported    415 image_type_unsupported
    │   ├── ImageCorrupt            422 image_corrupt
    │   └── ImageTooManyPixels      422 image_too_many_pixels
    ├── TooManyRequests             429 too_many_requests    (with Retry-After)
    ├── HeadTooLarge                431 head_too_large
    ├── ClientGone                  499 client_gone          (for the log only: nobody is there to read it)
    ├── ArchiveUnreadable           500 archive_unreadable   (of a job: its file has gone, or the disk fails)
    ├── EngineFailed                500 engine_failed
    ├── Unavailable                 503, with Retry-After
    │   ├── QueueFull                   overloaded
    │   ├── NotReady                    not_ready
    │   ├── Draining                    draining
    │   └── StoreBusy                   store_busy
    ├── DeadlineExceeded            504 deadline_exceeded
    ├── StoreFull                   507 store_full
    └── StartError                  the process ends with exit code 3
        ├── ModelUnavailable            model_unavailable
        ├── FileDamaged                 file_damaged
        ├── FolderTaken                 folder_taken
        └── StoreUnusable               store_unusable

`detail` is public: it names the reason, the limit and the way out. What a client must not see belongs in
the log, as the `__cause__`.
"""

from typing import ClassVar


class GlimtError(Exception):
    """Base of the tree. `detail` is what the client reads; `status` and `code` never change for a class."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong inside the service"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail or self.title


class BadRequest(GlimtError):
    status, code, title = 400, "bad_request", "The request cannot be used"


class EmailTaken(BadRequest):
    code, title = "email_taken", "There is an account with this e-mail address already"


class Unauthorized(GlimtError):
    """No credentials, or none that hold. The words are the same for every reason: nobody shall learn which it was."""

    status, code, title = 401, "unauthorized", "You are not signed in"

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            detail
            or "Send valid credentials: a personal token or the one from POST /login as `Authorization: Bearer`, or "
            "HTTP Basic; people sign in at /sign-in."
        )


class Forbidden(GlimtError):
    status, code, title = 403, "forbidden", "You may not do this"


class NotFound(GlimtError):
    status, code, title = 404, "not_found", "There is nothing here"


class MethodNotAllowed(GlimtError):
    status, code, title = 405, "method_not_allowed", "This address does not take that method"


class TooSlow(GlimtError):
    status, code, title = 408, "too_slow", "The request comes too slowly"


class Conflict(GlimtError):
    status, code, title = 409, "conflict", "That cannot be done as things stand"


class BodyTooLarge(GlimtError):
    status, code, title = 413, "body_too_large", "The request is too large"


class ArchiveTooLarge(GlimtError):
    status, code, title = 413, "archive_too_large", "The archive holds too much"


class ArchiveInvalid(GlimtError):
    status, code, title = 422, "archive_invalid", "The archive cannot be used"


class InvalidField(GlimtError):
    status, code, title = 422, "invalid_field", "A field has a value that is not allowed"


class ModelUnusable(GlimtError):
    status, code, title = 422, "model_unusable", "The model version cannot be served"


class ImageError(GlimtError):
    """The picture is at fault. Never a 500."""

    status, code, title = 422, "image_error", "The picture cannot be used"


class ImageTooLarge(ImageError):
    status, code, title = 413, "image_too_large", "The picture has too many bytes"


class ImageTypeUnsupported(ImageError):
    status, code, title = 415, "image_type_unsupported", "This is not a picture of a supported type"


class ImageCorrupt(ImageError):
    status, code, title = 422, "image_corrupt", "The picture is damaged"


class ImageTooManyPixels(ImageError):
    status, code, title = 422, "image_too_many_pixels", "The picture has too many pixels"


class HeadTooLarge(GlimtError):
    status, code, title = 431, "head_too_large", "The head of the request is too large"


class ClientGone(GlimtError):
    status, code, title = 499, "client_gone", "The client left before the answer"


class TooManyRequests(GlimtError):
    """A rate limit. `retry_after_s` as for Unavailable."""

    status, code, title = 429, "too_many_requests", "Too many requests"

    def __init__(self, detail: str = "", *, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_s = max(1, retry_after_s)


class ArchiveUnreadable(GlimtError):
    status, code, title = 500, "archive_unreadable", "The archive cannot be read from the service's disk"


class EngineFailed(GlimtError):
    status, code, title = 500, "engine_failed", "The model could not compute this picture"


class Unavailable(GlimtError):
    """Not now. `retry_after_s` (whole seconds, at least 1) is sent as Retry-After."""

    status, code, title = 503, "unavailable", "The service cannot take this now"

    def __init__(self, detail: str = "", *, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_s = max(1, retry_after_s)


class QueueFull(Unavailable):
    code, title = "overloaded", "The queue is full"


class NotReady(Unavailable):
    code, title = "not_ready", "The model is not ready"


class Draining(Unavailable):
    code, title = "draining", "The service is shutting down"


class StoreBusy(Unavailable):
    code, title = "store_busy", "The database is busy"


class DeadlineExceeded(GlimtError):
    status, code, title = 504, "deadline_exceeded", "The deadline passed before the answer was ready"


class StoreFull(GlimtError):
    status, code, title = 507, "store_full", "There is no room left to store this"


class StartError(GlimtError):
    """The service must not start. `detail` tells the operator what to do."""

    exit_code: ClassVar[int] = 3  # as uvicorn's for a failed start
    code, title = "start_failed", "The service cannot start"


class ModelUnavailable(StartError):
    code, title = "model_unavailable", "The model cannot be had"


class FileDamaged(StartError):
    code, title = "file_damaged", "A file is not what its manifest says"


class FolderTaken(StartError):
    code, title = "folder_taken", "Another process works in this data folder"


class StoreUnusable(StartError):
    code, title = "store_unusable", "The database cannot be used"
