"""Settings as options of a command, and errors as words and an exit code."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.markup import escape

from service.errors import GlimtError, StartError
from service.settings import Settings
from service.terminal import printable

T = TypeVar("T")

console = Console(stderr=True, highlight=False, soft_wrap=True)
DataDir = Annotated[Path | None, typer.Option(help="The data folder; else GLIMT_DATA_DIR.")]


def with_settings(command: Callable[[Settings], None]) -> Callable[..., None]:
    """Give a command one option per setting; what is not given comes from GLIMT_* or the default."""

    @with_fields(Settings.model_fields, environment="GLIMT_")
    def run(**given: Any) -> None:
        command(read_settings(given))

    run.__doc__ = command.__doc__
    return run


def with_fields(
    fields: Mapping[str, FieldInfo], *, environment: str = ""
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option per field, after its own; None is what was not given.

    `environment`: what begins the name of a field's environment variable, which the help then tells.
    """
    parameters = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name, field, environment)
        )
        for name, field in fields.items()
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        command.__signature__ = signature.replace(parameters=[*own, *parameters])  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in [*own, *parameters]}
        return command

    return decorate


def _option(name: str, field: FieldInfo, environment: str) -> Any:
    flag = f"--{name.replace('_', '-')}"
    flags = f"{flag}/--no-{flag[2:]}" if field.annotation is bool else flag
    default = "" if field.default in (None, PydanticUndefined) else f" Default: {shown_default(field.default)}."
    variable = f" [env {environment}{name.upper()}]" if environment else ""
    option = typer.Option(flags, help=f"{field.description}{default}{variable}", show_default=False)
    return Annotated[option_type(field.annotation), option]


def option_type(annotation: Any) -> Any:
    """What typer shall parse: a Literal is text, checked by the model with a better message."""
    parts = [part for part in get_args(annotation) if part is not NoneType]
    return str | None if parts and parts != [int] else annotation | None


def shown_default(value: object) -> str:
    """A default as a person would type it."""
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def read_settings(given: dict[str, Any]) -> Settings:
    """Settings from the options that were given, then the environment. A bad value ends with exit code 2."""
    from pydantic import ValidationError

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        for item in error.errors():
            name = str(item["loc"][0]) if item["loc"] else "?"
            console.print(f"--{name.replace('_', '-')} (GLIMT_{name.upper()}): {item['msg']}, not {item['input']!r}.")
        raise typer.Exit(2) from error


def or_exit(call: Callable[[], T]) -> T:
    """Its result; an error of ours becomes its words on the console, and exit code 3 when nothing could start."""
    try:
        return call()
    except GlimtError as error:
        console.print(f"[bold red]Error:[/bold red] {escape(printable(error.detail))}")
        raise typer.Exit(error.exit_code if isinstance(error, StartError) else 1) from error
