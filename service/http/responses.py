"""The answers of an operation as OpenAPI says them: its own, and the errors that follow from its door and its body."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from service.errors import (
    BadRequest,
    BodyTooLarge,
    Forbidden,
    GlimtError,
    HeadTooLarge,
    InvalidField,
    NotFound,
    StoreBusy,
    TooManyRequests,
    TooSlow,
    Unauthorized,
    Unavailable,
)
from service.http.access import SAFE_METHODS, Access, Door
from service.http.documents import Problem
from service.http.operation import (
    ETAG,
    HTML,
    JSON,
    LOCATION,
    NDJSON,
    PROBLEM,
    REQUEST_ID,
    RETRY_AFTER,
    SERVER_TIMING,
    SET_COOKIE,
    WWW_AUTHENTICATE,
    X_COMPLETE,
    Header,
    Kind,
    Operation,
)
from service.http.problems import problem

Schema = dict[str, Any]

REF = "#/components/schemas/{model}"
HEADERS = (REQUEST_ID, RETRY_AFTER, SERVER_TIMING, ETAG, LOCATION, SET_COOKIE, WWW_AUTHENTICATE, X_COMPLETE)
WORDS = {
    200: "Done.",
    201: "Made.",
    202: "Accepted.",
    204: "Done; nothing to say.",
    303: "Go on there.",
    304: "Unchanged.",
}
LINES = "One JSON document a line, each as soon as it is there; `x-itemSchema` describes a line."


class Untitled(GenerateJsonSchema):
    """Without a `title` for every field, which only repeats its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class Components:
    """The schemas of all that is sent as JSON, and the error answers, which many operations share."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        asked: set[tuple[Kind, JsonSchemaMode]] = {(Problem, "serialization")}
        for said in operations:
            asked |= {(said.body[JSON], "validation")} if JSON in said.body else set()
            asked |= {(kind, "serialization") for content in said.answers.values() for kind in content.values()}
        adapters = [(kind, mode, TypeAdapter(kind)) for kind, mode in sorted(asked, key=repr)]
        self._found, defined = TypeAdapter.json_schemas(adapters, ref_template=REF, schema_generator=Untitled)
        self.schemas: Schema = defined["$defs"]
        self.failures: dict[str, Schema] = {}

    def schema(self, kind: Kind, mode: JsonSchemaMode) -> Schema:
        """Of one kind, as a reference where it has a name."""
        return self._found[kind, mode]

    def failure(self, kinds: Sequence[type[GlimtError]]) -> Schema:
        """A reference to the answer for errors of one status."""
        name = "-".join([str(kinds[0].status), *(kind.code for kind in kinds)])
        self.failures.setdefault(name, _failure(kinds))
        return {"$ref": f"#/components/responses/{name}"}


def responses(door: Door, said: Operation, components: Components, *, login_required: bool) -> Schema:
    """By status. Where a status is both, an answer of its own and an error, its contents are those of both."""
    answers = {str(status): _answer(status, said, components) for status in said.answers}
    if door.access.needs_account(login_required) and "GET" in (door.methods or ()):
        answers["303"] = {"description": "Who is not signed in goes there, in a browser."} | _headers(LOCATION)
    for status, kinds in _by_status(_errors(door, said)).items():
        if status in answers:
            answers[status] = _failure(kinds) | {"content": _failure(kinds)["content"] | answers[status]["content"]}
        else:
            answers[status] = components.failure(kinds)
    return dict(sorted(answers.items()))


def header_object(header: Header) -> Schema:
    """A header of a request or of an answer."""
    return {"description": header.description, "required": header.always, "schema": dict(header.schema)}


def _answer(status: int, said: Operation, components: Components) -> Schema:
    extra = [LOCATION] if status == 303 else []
    answer = {"description": WORDS.get(status, "Not so.")} | _headers(*said.sends, *extra)
    content = said.answers[status]
    return answer | {"content": {media: _sent(media, kind, components) for media, kind in content.items()}}


def _sent(media: str, kind: Kind, components: Components) -> Schema:
    schema = components.schema(kind, "serialization")
    if media == NDJSON:
        return {"schema": {"type": "string", "description": LINES}, "x-itemSchema": schema}
    return {"schema": schema}


def _headers(*headers: Header) -> Schema:
    return {"headers": {it.name: {"$ref": f"#/components/headers/{it.name}"} for it in (REQUEST_ID, *headers)}}


def _errors(door: Door, said: Operation) -> set[type[GlimtError]]:
    """Its own, and what the gate, the body, the query and the path can say."""
    kinds = {*said.errors, GlimtError, Unauthorized, TooManyRequests, Unavailable, StoreBusy, TooSlow, HeadTooLarge}
    if not SAFE_METHODS & (door.methods or set()) or door.access in (Access.USER, Access.ADMIN):
        kinds.add(Forbidden)
    if said.body:
        kinds |= {BadRequest, BodyTooLarge}
    if JSON in said.body or said.takes or (said.query and said.query.model_config.get("extra") == "forbid"):
        kinds.add(InvalidField)
    if door.param_convertors:
        kinds.add(NotFound)
    return kinds


def _by_status(kinds: Iterable[type[GlimtError]]) -> Mapping[str, list[type[GlimtError]]]:
    found: dict[str, list[type[GlimtError]]] = {}
    for kind in sorted(kinds, key=lambda kind: (kind.status, kind.code)):
        found.setdefault(str(kind.status), []).append(kind)
    return found


def _failure(kinds: Sequence[type[GlimtError]]) -> Schema:
    its_code = {"properties": {"code": {"enum": [kind.code for kind in kinds]}}}
    extra = [RETRY_AFTER] if issubclass(kinds[0], Unavailable | TooManyRequests) else []
    extra += [WWW_AUTHENTICATE] if Unauthorized in kinds else []
    return {
        "description": "; ".join(f"{kind.title} (`{kind.code}`)" for kind in kinds) + ".",
        **_headers(*extra),
        "content": {
            PROBLEM: {
                "schema": {"allOf": [{"$ref": REF.format(model="Problem")}, its_code]},
                "examples": {kind.code: {"value": problem(kind(), "0b6f1c3a")} for kind in kinds},
            },
            HTML: {"schema": {"type": "string"}},
        },
    }
