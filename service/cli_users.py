"""`glimt users …`: its options and words."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import orjson
import typer
from rich.console import Console

from service.options import DataDir, or_exit, read_settings
from service.terminal import printable

if TYPE_CHECKING:  # it loads most of the service
    from service.users import Users

T = TypeVar("T")

users = typer.Typer(
    no_args_is_help=True, help="Accounts. For whoever can read the data folder, whether the service runs or not."
)

Who = Annotated[str, typer.Argument(help="E-mail address or id.", show_default=False)]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input; else one is made and shown.")
]


@users.command("create")
def create_user(
    email: Annotated[str, typer.Argument(show_default=False)],
    name: Annotated[str, typer.Option(help="Of the person, 2 to 50 characters.", show_default=False)],
    role: Annotated[Literal["user", "admin"], typer.Option(help="An admin may change the service.")] = "user",
    password_stdin: PasswordStdin = False,
    data_dir: DataDir = None,
) -> None:
    """Make an account, and print its password when it was made here."""
    password = read_password(password_stdin)
    user, made = with_users(data_dir, lambda users: users.create(email, name, role, password))
    say(f"Account {user['id']} of {user['email']} ({user['role']}) is made.")
    if made:
        say(f"Password, shown this once: {made}")


@users.command("list")
def list_users(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list instead of the table.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Show all accounts, the oldest first."""
    from service.users import table

    found = with_users(data_dir, lambda users: users.list())
    if as_json:
        sys.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        Console(highlight=False).print(table(found))


@users.command("set-role")
def set_role(
    who: Who, role: Annotated[Literal["user", "admin"], typer.Argument(show_default=False)], data_dir: DataDir = None
) -> None:
    """Make somebody an admin, or no longer one."""
    user = with_users(data_dir, lambda users: users.set_role(who, role))
    say(f"The role of {user['email']} is {user['role']} now.")


@users.command("reset-password")
def reset_password(who: Who, password_stdin: PasswordStdin = False, data_dir: DataDir = None) -> None:
    """Give somebody a new password and print it; their sessions and tokens end."""
    password = read_password(password_stdin)
    user, new = with_users(data_dir, lambda users: users.reset_password(who, password))
    say(f"Sessions and tokens of {user['email']} have ended.")
    if password is None:
        say(f"New password, shown this once: {new}")


@users.command("delete")
def delete_user(
    who: Who,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Delete an account with all its data."""
    if not yes:
        typer.confirm(f"Delete the account {who} with its feedback, history and tokens, for good?", abort=True)
    user = with_users(data_dir, lambda users: users.delete(who))
    say(f"Account {user['id']} of {user['email']} is deleted.")


def with_users(data_dir: Path | None, call: "Callable[[Users], Awaitable[T]]") -> T:
    """What `call` does with the accounts."""
    from service.users import users

    settings = read_settings({"data_dir": data_dir})

    async def run() -> T:
        async with users(settings) as known:
            return await call(known)

    return or_exit(lambda: asyncio.run(run()))


def read_password(from_stdin: bool) -> str | None:
    """None: one shall be made. Never an argument, which everybody on the machine could read."""
    from service.users import password_on_stdin

    return or_exit(password_on_stdin) if from_stdin else None


def say(line: str) -> None:
    """On standard output, for people and scripts."""
    sys.stdout.write(printable(line) + "\n")
