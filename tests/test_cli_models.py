"""`glimt models` as a person types it: its words, its output for scripts, its exit codes."""

import asyncio
import io
import re
from pathlib import Path

import orjson
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from service.cli import app
from service.data_folder import claimed
from service.model_versions import Versions
from service.models.registry import Registry
from service.models.versions import MANIFEST, ModelVersion
from service.settings import Settings
from tests.models.shelf import put
from tests.world import CLASSES, make_app, under_uvicorn


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """That of the data folder which is named by the environment."""
    monkeypatch.setenv("GLIMT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return Registry(tmp_path)


def run(*arguments: str, input: str = "") -> Result:
    """`glimt models` with these arguments."""
    return CliRunner().invoke(app, ["models", *arguments], input=input)


def much_later(version: ModelVersion) -> str:
    """The version, made in the year 2999: manifests count in seconds."""
    manifest = version.weights.parent / MANIFEST
    manifest.write_bytes(orjson.dumps(orjson.loads(manifest.read_bytes()) | {"created": "2999-01-01T00:00:00Z"}))
    return version.ref


@pytest.mark.usefixtures("registry")
def test_without_versions_it_says_how_to_get_one() -> None:
    """With and without the word `list`."""
    for arguments in ([], ["list"]):
        assert "glimt train DATA makes one" in run(*arguments).stdout


def test_the_list_and_its_json(registry: Registry) -> None:
    """What is served is marked in both."""
    ref = put(registry).ref
    run("activate", "pets")
    line = next(line for line in run().stdout.splitlines() if ref in line)
    assert line.split()[:5] == [ref, "served", "90.0%", "2", "cnn"]
    (document,) = orjson.loads(run("list", "--json").stdout)
    assert (document["ref"], document["served"]) == (ref, True)


def test_without_a_service_the_next_start_serves_it(registry: Registry) -> None:
    """And a roll-back takes that back."""
    ref = put(registry).ref
    assert run("activate", "pets").stdout.startswith(f"{ref} is served from the next start")
    assert registry.pointer().served == ref
    assert run("roll-back").stdout.startswith("The model that the settings name is served")
    assert registry.pointer().served is None


def test_one_that_was_not_better_needs_override(registry: Registry) -> None:
    """Exit code 1 and the way out."""
    ref = put(registry, beats_served=False).ref
    refused = run("activate", ref)
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"Error: {ref} was not better"), "it began: That contradicts what is already there"
    assert "--override" in refused.output
    assert run("activate", ref, "--override").exit_code == 0


def test_a_name_that_means_the_served_one_tells_of_a_newer(registry: Registry) -> None:
    """It would not be found out otherwise; nothing is said where there is none, or a version was named."""
    old = put(registry, content=b"one").ref
    run("activate", "pets")
    assert "newer" not in run("activate", "pets").output
    new = much_later(put(registry, content=b"two"))
    again = run("activate", "pets")
    assert again.exit_code == 1
    assert f"{old} is what the next start serves already. {new} is newer: name it" in again.output
    assert "newer" not in run("activate", old).output


def test_a_versions_name_is_never_broken(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is to be copied, from a narrow terminal too; in a pipe its whole line stays one."""
    monkeypatch.setenv("COLUMNS", "40")
    ref = put(registry, name="p" * 64).ref
    _, line = run().stdout.splitlines()
    assert re.fullmatch(rf"{ref} +90.0% +2 +cnn +\d{{4}}-\d\d-\d\d \d\d:\d\d", line.strip())
    narrow = Console(file=io.StringIO(), width=40, soft_wrap=True)
    narrow.print(Versions(Settings(data_dir=registry.folder.parent)).table())
    assert isinstance(narrow.file, io.StringIO)
    assert ref in narrow.file.getvalue()


def test_deleting_asks_first(registry: Registry) -> None:
    """No is no."""
    put(registry)
    assert run("delete", "pets", input="n\n").exit_code == 1
    assert len(registry.list()) == 1
    assert run("delete", "pets", input="y\n").exit_code == 0
    assert registry.list() == []


def test_a_version_goes_out_and_comes_in(registry: Registry, tmp_path: Path) -> None:
    """By a file called like it; what is there is not written over."""
    ref = put(registry).ref
    assert run("export", "pets").exit_code == 0
    file = tmp_path / f"{ref.replace(':', '-')}.tar"
    again = run("export", "pets")
    assert again.exit_code == 1
    assert "exists already" in again.output
    run("delete", ref, "--yes")
    came = run("import", str(file))
    assert f"glimt models activate {ref}" in came.stdout
    assert registry.read(ref).ref == ref
    assert not list(tmp_path.glob(".*part"))


def test_a_failed_export_leaves_no_file(registry: Registry, tmp_path: Path) -> None:
    """A damaged version is found before anybody carries it away."""
    put(registry).weights.write_bytes(b"Weights")
    failed = run("export", "pets")
    assert failed.exit_code != 0
    assert "is damaged" in failed.output
    assert not list(tmp_path.glob("*.tar")) + list(tmp_path.glob(".*part"))


def test_two_side_by_side(registry: Registry) -> None:
    """A figure of each."""
    one, other = put(registry, content=b"one").ref, put(registry, content=b"two").ref
    shown = run("compare", one, other).stdout
    assert one in shown
    assert "0.9" in shown
    assert orjson.loads(run("compare", one, other, "--json").stdout)["metrics"] == {"accuracy": [0.9, 0.9]}


def test_an_unknown_one(registry: Registry) -> None:
    """Exit code 1, in words."""
    put(registry)
    for command in ("activate", "delete", "export"):
        refused = run(command, "cats")
        assert refused.exit_code == 1
        assert "There is no model 'cats'" in refused.output


async def test_a_running_service_serves_it_at_once(registry: Registry, tmp_path: Path) -> None:
    """By its own route; the pointer is its to write. What it refuses is said with the way out at a terminal."""
    ref = put(registry, classes=CLASSES).ref
    served = make_app(tmp_path)
    with claimed(tmp_path) as claim:
        async with under_uvicorn(served) as port:
            await served.house.worker.loaded()
            claim.announce(f"http://127.0.0.1:{port}")
            done = await asyncio.to_thread(run, "activate", ref)
            assert done.exit_code == 0, done.output
            assert f"{ref} answers now." in done.stdout
            assert served.house.worker.model.name == "pets"
            worse = put(registry, content=b"worse", classes=CLASSES, beats_served=False).ref
            assert "To serve it all the same: --override" in (await asyncio.to_thread(run, "activate", worse)).output
            newer = much_later(put(registry, content=b"newer", classes=CLASSES))
            again = await asyncio.to_thread(run, "activate", "pets")
            assert f"{ref} is served already. {newer} is newer" in again.output
            back = await asyncio.to_thread(run, "roll-back")
            assert "answers again" in back.stdout
