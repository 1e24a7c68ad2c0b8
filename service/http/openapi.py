"""The OpenAPI 3.1 document, made from the doors, what their handlers say of themselves, and the models that validate.

Pure: doors in, a dict out.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from service import __version__
from service.http.access import SESSION_COOKIE, Access, Door
from service.http.operation import JSON, PICTURE, TAR, ZIP, Content, Header, Operation, operation_of
from service.http.responses import HEADERS, REF, Components, Schema, Untitled, header_object, responses
from service.models import names
from service.training.runs import ID

A_PICTURE = "/static/examples/digit-7.png"
INFO = {
    "title": "Glimt",
    "version": __version__,
    "summary": "A glimpse is enough: pictures in, labels out, for many clients at once.",
    "description": (
        "Errors are `application/problem+json` (RFC 9457), or HTML for who accepts `text/html`. Every answer has an "
        "`X-Request-ID`, which finds it in the log; a client's own is taken. A request that changes something is "
        "refused when a browser sends it for a page of another site."
    ),
    "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
}
TAGS = {
    "predict": "What a picture shows.",
    "models": "Versions of the model: which one answers, and how that is changed.",
    "training": "Models that learn, from labelled pictures and from feedback.",
    "jobs": "Zip archives of pictures, classified in the background.",
    "feedback": "Whether it was right.",
    "history": "One's own earlier answers.",
    "accounts": "Signing in, one's own account and tokens; other people's for admins.",
    "operations": "Alive, ready, figures, and how batches are made.",
    "page": "The pages and their fragments, for people.",
}
SECURITY: Mapping[str, Schema] = {
    "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE, "description": "What signing in sets."},
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A personal token from POST /api/tokens, or the JWT from POST /login.",
    },
    "basic": {"type": "http", "scheme": "basic", "description": "E-mail address and password."},
}
AN_ID: Schema = {"schema": {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}, "example": 1}
A_STAMP: Schema = {"schema": {"type": "string", "pattern": f"^{ID.pattern}$"}, "example": "20261121-085702-5f0a1b"}
PATH: Mapping[str, Schema] = {
    "ref": {"schema": {"type": "string", "pattern": f"^{names.REF}$"}, "example": "pets:3b1f0c9d2a77"},
    "run": A_STAMP,
    "sha256": {"schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"}, "example": "0" * 64},
    "dataset": A_STAMP,
    "sheet": {"schema": {"enum": ["augmentation", "map-1", "map-2", "map-3"]}, "example": "map-1"},
}
"""What is in a path, where it is not a row's number."""


def openapi(doors: Sequence[Door], *, login_required: bool) -> dict[str, Any]:
    """The document. Raises LookupError naming a door whose handler has no Operation."""
    said = [_operation(door) for door in doors]
    components = Components(said)
    paths: dict[str, Schema] = {}
    for door, operation in zip(doors, said, strict=True):
        described = _described(door, operation, components, login_required)
        paths.setdefault(door.path_format, {})[_method(door)] = described
    return {
        "openapi": "3.1.0",
        "info": INFO,
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": components.schemas,
            "responses": components.failures,
            "headers": {header.name: header_object(header) for header in HEADERS},
            "securitySchemes": SECURITY,
        },
    }


def _operation(door: Door) -> Operation:
    said = operation_of(door.endpoint)
    if said is None:
        raise LookupError(f"The handler of {_method(door)} {door.path} has no @Operation.")
    return said


def _method(door: Door) -> str:
    (method,) = (door.methods or set()) - {"HEAD"}
    return method.lower()


def _described(door: Door, said: Operation, components: Components, login_required: bool) -> Schema:
    words = inspect.cleandoc(door.endpoint.__doc__ or "").replace("\n", " ")
    body = {"requestBody": {"required": True, "content": _body(said.body, components)}} if said.body else {}
    return {
        "tags": [said.tag],
        "summary": words.partition(". ")[0].removesuffix("."),
        "description": words,
        "operationId": _id(door),
        "parameters": [*_path(door), *_query(said.query), *map(_taken, said.takes)],
        **body,
        "responses": responses(door, said, components, login_required=login_required),
        "security": _security(door.access, login_required),
    }


def _id(door: Door) -> str:
    """`post_feedback`. With a slash at the end it is another address, and another id."""
    words = [part.strip("{}") for part in door.path_format.strip("/").split("/")]
    slash = ["slash"] if door.path.endswith("/") else []
    return "_".join(filter(None, [_method(door), *words, *slash])).replace("-", "_").replace(".", "_")


def _path(door: Door) -> list[Schema]:
    return [{"name": name, "in": "path", "required": True} | PATH.get(name, AN_ID) for name in door.param_convertors]


def _query(model: type[BaseModel] | None) -> list[Schema]:
    schema = _fields(model) if model else {"properties": {}}
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": field}
        | ({"description": field.pop("description")} if "description" in field else {})
        for name, field in schema["properties"].items()
    ]


def _taken(header: Header) -> Schema:
    return {"name": header.name, "in": "header"} | header_object(header)


def _fields(model: type[BaseModel]) -> Schema:
    """A query or a form. Text cannot say null: what is absent is left out."""
    schema = model.model_json_schema(ref_template=REF, schema_generator=Untitled)
    for field in schema["properties"].values():
        kinds = [kind for kind in field.pop("anyOf", ()) if kind != {"type": "null"}]
        field |= kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {}
        if "default" in field and field["default"] is None:
            del field["default"]
    return schema


def _body(body: Content, components: Components) -> Schema:
    content: Schema = {}
    for media, kind in body.items():
        if media == JSON:
            content[media] = {"schema": components.schema(kind, "validation")}
        elif media == PICTURE:
            examples = {"digit": {"summary": "A handwritten 7", "externalValue": A_PICTURE}}
            content[media] = {"schema": {"type": "string", "format": "binary"}, "examples": examples}
        elif media in (ZIP, TAR):
            content[media] = {"schema": {"type": "string", "format": "binary"}}
        else:
            content[media] = {"schema": _fields(kind)}
    return content


def _security(access: Access, login_required: bool) -> list[Schema]:
    """Any one of the ways to sign in; an empty one where nobody needs to."""
    roles = ["admin"] if access is Access.ADMIN else []
    ways: list[Schema] = [{name: roles} for name in SECURITY]
    return ways if access.needs_account(login_required) else [{}, *ways]
