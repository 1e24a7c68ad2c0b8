"""A document as a JSON answer."""

from collections.abc import Mapping

import orjson
from starlette.responses import Response

from service.http.operation import JSON


def json_answer(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`content` in JSON, its times in UTC with a Z at their end."""
    return Response(orjson.dumps(content, option=orjson.OPT_UTC_Z), status, headers, media_type=JSON)
