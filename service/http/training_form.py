"""The form that starts a training run: a field for everything that can be ordered, as the order itself describes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo

from service.errors import InvalidField
from service.http.documents import Absent, example
from service.http.json_body import reasons
from service.http.training_documents import A_STAMP, WITHOUT, NewRun, Wanted
from service.training.orders import Order

COMMON = (
    "backbone", "epochs", "fine_tune_epochs", "augment", "dropout", "dense", "learning_rate", "seed",
)  # fmt: skip
"""What one changes first. The rest is folded away, but the name, which is asked for apart."""
APART = WITHOUT | {"name"}
FEEDBACK = "feedback"
"""As `data`: what people said, and no dataset."""
_YES_OR_NO = (("true", "yes"), ("false", "no"))


class RunForm(BaseModel):
    """A new run. Every field of NewRun may be given besides; one that is empty is as usual."""

    model_config = example({"name": "pets", "data": A_STAMP, "epochs": "5"})

    name: str = Field(description="What the model will be called.")
    data: str = Field(description="An uploaded dataset, by its id; or `feedback`.")
    epochs: str | Absent = Field(None, description="As all the others: a number, or empty.")


@dataclass(frozen=True, slots=True)
class Setting:
    """A field of the form. `usual` is what holds where nothing is given; `choices` are values with their words."""

    name: str
    about: str
    kind: Literal["number", "text", "choice"]
    usual: str
    choices: tuple[tuple[str, str], ...] = ()
    least: str = ""
    most: str = ""
    is_whole: bool = False


def settings() -> tuple[list[Setting], list[Setting]]:
    """The common ones, and the others."""
    found = {name: _setting(name, field) for name, field in Order.model_fields.items() if name not in APART}
    return [found.pop(name) for name in COMMON], list(found.values())


def wanted_of(fields: Mapping[str, str]) -> Wanted:
    """What a sent form asks for. Raises InvalidField."""
    given: dict[str, Any] = {name: text.strip() for name, text in fields.items() if text.strip()}
    data = given.pop("data", None)
    if data is None:
        raise InvalidField("data: choose what to learn from.")
    given |= {"from_feedback": True} if data == FEEDBACK else {"dataset": data}
    try:
        wanted: Wanted = NewRun.model_validate(given)
    except ValidationError as error:
        raise InvalidField(f"{reasons(error)}.") from error
    return wanted


def _setting(name: str, field: FieldInfo) -> Setting:
    kinds = [kind for kind in (get_args(field.annotation) or (field.annotation,)) if kind is not type(None)]
    usual = "" if field.default is None else f"{field.default:g}" if float in kinds else str(field.default)
    about = field.description or ""
    if get_origin(field.annotation) is Literal:
        return Setting(name, about, "choice", usual, tuple((value, value) for value in get_args(field.annotation)))
    if kinds == [bool]:
        return Setting(name, about, "choice", "yes" if field.default else "no", _YES_OR_NO)
    if kinds == [str]:
        return Setting(name, about, "text", usual)
    return Setting(
        name, about, "number", usual, (), _bound(field, "ge", "gt"), _bound(field, "le", "lt"), is_whole=kinds == [int]
    )


def _bound(field: FieldInfo, *names: str) -> str:
    found = [getattr(part, name) for part in field.metadata for name in names if hasattr(part, name)]
    return f"{found[0]:g}" if found and found[0] < 1e6 else ""
