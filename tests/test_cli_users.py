"""`glimt users` as a person types it: its words, its output for scripts, its exit codes."""

import re
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from service.cli import app
from service.data_folder import claimed

ADA = ["create", "ada@example.org", "--name", "Ada"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder, named by the environment."""
    monkeypatch.setenv("GLIMT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def run(*arguments: str, input: str | bytes = "") -> Result:
    """`glimt users` with these arguments."""
    return CliRunner().invoke(app, ["users", *arguments], input=input)


@pytest.mark.usefixtures("data")
def test_an_account_and_its_password() -> None:
    """Made at random and shown once; the list has the account and not the password."""
    made = run(*ADA, "--role", "admin")
    assert made.exit_code == 0, made.output
    assert "Account 1 of ada@example.org (admin) is made." in made.stdout
    shown = re.search(r"Password, shown this once: ([a-z2-9-]{23})\n", made.stdout)
    assert shown
    listed = run("list", "--json").stdout
    (user,) = orjson.loads(listed)
    assert (user["email"], user["name"], user["role"]) == ("ada@example.org", "Ada", "admin")
    assert shown[1] not in listed
    assert re.search(r"1 +ada@example.org +Ada +admin +\d{4}-\d\d-\d\d", run("list").stdout)


@pytest.mark.usefixtures("data")
def test_a_password_on_standard_input_is_not_shown() -> None:
    """A line of it, for a new account and for a reset."""
    for arguments in (ADA, ["reset-password", "ada@example.org"]):
        done = run(*arguments, "--password-stdin", input="correct horse\nand more")
        assert done.exit_code == 0, done.output
        assert "assword" not in done.output


@pytest.mark.usefixtures("data")
def test_role_password_and_end() -> None:
    """Each says what was done to whom."""
    run(*ADA)
    assert run("set-role", "1", "admin").stdout == "The role of ada@example.org is admin now.\n"
    run("create", "eve@example.org", "--name", "Eve", "--role", "admin")
    assert "New password, shown this once: " in run("reset-password", "ada@example.org").stdout
    assert run("delete", "ada@example.org", "--yes").stdout == "Account 1 of ada@example.org is deleted.\n"


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(("answer", "left"), [("n\n", 1), ("", 1), ("y\n", 0)])
def test_deleting_asks_first(answer: str, left: int) -> None:
    """No, and nobody there to answer, delete nothing."""
    run(*ADA)
    done = run("delete", "ada@example.org", input=answer)
    assert "Delete the account ada@example.org with its feedback, history and tokens, for good?" in done.output
    assert done.exit_code == (1 if left else 0)
    assert len(orjson.loads(run("list", "--json").stdout)) == left


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["create", "ada", "--name", "Ada"], 1, "email: "),
        (["create", "ada@example.org", "--name", "A"], 1, "name: "),
        ([*ADA, "--role", "king"], 2, "'king' is not one of 'user', 'admin'"),
        ([*ADA, "--password", "secret"], 2, "No such option: --password"),
        ([*ADA, "--password-stdin"], 1, "password: "),
        (["set-role", "eve@example.org", "admin"], 1, "There is no account of eve@example.org."),
        (["list", "--data-dir", "/dev/null/x"], 3, "/dev/null/x/service.lock cannot be locked"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes(arguments: list[str], code: int, words: str) -> None:
    """1 for what is refused, 2 for a bad option, 3 where nothing can work; in words."""
    done = run(*arguments)
    assert (done.exit_code, words in " ".join(done.output.split())) == (code, True), done.output


def test_a_password_that_is_no_text(data: Path) -> None:
    """Said so; nothing is made."""
    done = run(*ADA, "--password-stdin", input=b"\xff\xfe\n")
    assert (done.exit_code, "is not UTF-8" in done.output) == (1, True)
    assert not (data / "glimt.db").exists()


def test_a_service_that_is_starting(data: Path) -> None:
    """Exit code 3, and who it is."""
    with claimed(data):
        done = run("list")
    assert (done.exit_code, "which is starting" in done.output) == (3, True)
