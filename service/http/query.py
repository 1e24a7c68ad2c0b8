"""The query of a request as a model."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from service.errors import InvalidField

Model = TypeVar("Model", bound=BaseModel)


def read_query(request: Request, model: type[Model]) -> Model:
    """Raises InvalidField naming the parameter and what it may be."""
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        known = ", ".join(model.model_fields)
        raise InvalidField(f"Query parameter {name}: {first['msg']}. Known parameters: {known}.") from error
