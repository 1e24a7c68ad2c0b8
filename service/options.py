"""Settings as options of a command, and errors as words and an exit code."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import typer
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

    def run(**given: Any) -> None:
        command(read_settings(given))

    parameters = []
    for name, field in Settings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        flags = f"{flag}/--no-{flag[2:]}" if field.annotation is bool else flag
        text = f"{field.description} Default: {shown_default(field.default)}. [env GLIMT_{name.upper()}]"
        kind = Annotated[option_type(field.annotation), typer.Option(flags, help=text, show_default=False)]  # type: ignore[valid-type]
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__doc__ = command.__doc__
    return run


def option_type(annotation: Any) -> Any:
    """What typer shall parse: a Literal is text, checked by Settings with a better message."""
    return str | None if get_args(annotation) else annotation | None


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
        console.print(f"[bold red]{escape(error.title)}.[/bold red] {escape(printable(error.detail))}")
        raise typer.Exit(error.exit_code if isinstance(error, StartError) else 1) from error
