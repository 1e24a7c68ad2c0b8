"""A small JSON document out of a request, with its limit counted while reading, and pydantic's words about it."""

from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from service.errors import BadRequest, BodyTooLarge, ClientGone, InvalidField

Model = TypeVar("Model", bound=BaseModel)


async def read_json(request: Request, *, max_bytes: int, about: str, way_out: str = "") -> object:
    """The document. `about` begins the errors' sentences: "Feedback", "A change"; `way_out` ends them.

    Raises BadRequest when it is no JSON, BodyTooLarge, ClientGone.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BadRequest(f"{about} is JSON: send it with Content-Type: application/json. {way_out}".rstrip())
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise BodyTooLarge(f"{about} may have at most {max_bytes} bytes. {way_out}".rstrip())
    except ClientDisconnect as error:
        raise ClientGone() from error
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error}. {way_out}".rstrip()) from error


async def read_model(request: Request, model: type[Model], *, max_bytes: int, about: str, way_out: str = "") -> Model:
    """The document as this model. Raises as `read_json`, and InvalidField naming the fields and what they may be."""
    content = await read_json(request, max_bytes=max_bytes, about=about, way_out=way_out)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InvalidField(f"{reasons(error)}. {way_out}".rstrip()) from error


def reasons(error: ValidationError) -> str:
    """`field: reason` for the first five; names of unknown fields are the client's, so they are cut."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)[:5]
    lines = (f"{'.'.join(map(str, problem['loc']))[:50] or 'body'}: {problem['msg']}" for problem in problems)
    return "; ".join(lines)
