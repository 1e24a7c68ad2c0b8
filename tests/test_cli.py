"""The `glimt` command as a person meets it: its words and exit codes."""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from service.settings import Settings
from tests.world import png

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "service/models/demo"
DIGIT = ROOT / "web/static/examples/digit-7.png"


class Commands:
    """`glimt` as command_service.py runs it, with what it says in `folder`."""

    def __init__(self, service: subprocess.Popen[str], folder: Path) -> None:
        self._service, self._folder = service, folder

    def __call__(self, *arguments: str, data: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run it with its data in `data`, without network (the weights' site is a closed port)."""
        assert self._service.stdin
        assert self._service.stdout
        env = {name: value for name, value in os.environ.items() if not name.startswith("GLIMT_")}
        env |= {"GLIMT_DATA_DIR": str(data), "GLIMT_WEIGHTS_SITE": "http://127.0.0.1:9", "KERAS_HOME": str(data)}
        env |= {"COLUMNS": "200", **environment}
        out, errors = self._folder / "out", self._folder / "errors"
        self._service.stdin.write(json.dumps([arguments, env, str(out), str(errors)]) + "\n")
        self._service.stdin.flush()
        code = int(self._service.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, out.read_text(), errors.read_text())


@pytest.fixture(scope="module")
def glimt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    command, pipe = [sys.executable, "-m", "tests.command_service"], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as service:
        yield Commands(service, tmp_path_factory.mktemp("said"))


def test_every_setting_is_in_the_help(glimt: Commands, tmp_path: Path) -> None:
    """Each with its option, its default and its environment variable."""
    words = " ".join(glimt("serve", "--help", data=tmp_path).stdout.split())
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in words
        assert f"[env GLIMT_{name.upper()}]" in words


def test_every_setting_is_in_the_readme() -> None:
    """The README's table has each variable with its default and exactly its line of help, and no others."""
    readme = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| `(GLIMT_\w+)` \| `?([^|`]*)`? \| ([^|]*) \|$", readme, re.MULTILINE)
    expected = [
        (
            f"GLIMT_{name.upper()}",
            str(field.default).lower() if field.annotation is bool else str(field.default),
            field.description,
        )
        for name, field in Settings.model_fields.items()
    ]
    assert rows == expected


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["serve", "--port", "99999"], 2, "--port (GLIMT_PORT): Input should be less than or equal to 65535"),
        (["serve", "--preprocess", "x"], 2, "'imagenet' or 'keras'"),
        (["serve", "--no-such-option"], 2, "No such option"),
        (["serve", "--model", "nosuch"], 3, "no model 'nosuch'"),
        (["serve", "--weights", "/nowhere.h5"], 3, "/nowhere.h5 does not exist"),
        (["serve", "--no-fallback"], 3, "--weights FILE"),
        (["export", "feedback", "--format", "xml"], 2, "csv or ndjson"),
        (["classify", "/nowhere.png", "--ndjson"], 1, "No such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_get_words_and_an_exit_code(
    glimt: Commands, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    """2 for a bad option, 3 when nothing can be served, 1 when a picture failed; never a stack trace."""
    result = glimt(*arguments, data=tmp_path, GLIMT_MODEL="demo" if arguments[0] == "classify" else "resnet50")
    assert result.returncode == code, result.stderr
    assert words in " ".join((result.stdout + result.stderr).split())
    assert "Traceback" not in result.stderr


def test_bad_environment_is_named(glimt: Commands, tmp_path: Path) -> None:
    """A typo in a variable's value ends the start with the variable's name."""
    result = glimt("serve", data=tmp_path, GLIMT_MAX_BATCH="many")
    assert result.returncode == 2
    assert "GLIMT_MAX_BATCH" in result.stderr


def test_flipped_byte_names_the_file(glimt: Commands, tmp_path: Path) -> None:
    """A version whose file is not what its manifest says does not start: exit code 3 and the file's name."""
    for name in ("classes.tsv", "demo.weights.h5"):
        version = tmp_path / name
        shutil.copytree(DEMO, version)
        damaged = bytearray((version / name).read_bytes())
        damaged[len(damaged) // 2] ^= 1
        (version / name).write_bytes(damaged)
        result = glimt("serve", "--weights", str(version), data=tmp_path)
        assert result.returncode == 3
        assert f"{version / name} is damaged" in result.stderr


def test_unusable_database_is_left_alone(glimt: Commands, tmp_path: Path) -> None:
    """T18: exit code 3, in words, and the file is as it was."""
    (tmp_path / "glimt.db").write_text("my diary, not a database")
    result = glimt("serve", "--model", "demo", data=tmp_path)
    assert result.returncode == 3
    assert "file is not a database" in result.stderr
    assert (tmp_path / "glimt.db").read_text() == "my diary, not a database"


def test_doctor_says_what_would_be_served_and_why(glimt: Commands, tmp_path: Path) -> None:
    """Without network and weights: that a start would end at the demo model."""
    result = glimt("doctor", data=tmp_path)
    assert result.returncode == 0
    for name in ("Python", "cores", "engine", "SQLite", "data folder", "would serve"):
        assert f"{name}:" in result.stdout
    assert "serves the demo model" in result.stdout


def test_classify_by_what_is_not_glimt(glimt: Commands, tmp_path: Path) -> None:
    """Another program at the URL, or none, is said in words for each picture; never a stack trace."""

    class Other(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(404)
            self.end_headers()
            self.wfile.write(b'{"detail": "Not Found"}')

        def log_message(self, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever).start()
        result = glimt("classify", str(DIGIT), "--ndjson", f"http://127.0.0.1:{server.server_port}", data=tmp_path)
        server.shutdown()
    assert "is not Glimt" in result.stdout
    result = glimt("classify", str(DIGIT), "--ndjson", "http://127.0.0.1:9", data=tmp_path)
    assert "cannot be reached" in result.stdout
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.slow
@pytest.mark.usefixtures("prepared_models")
def test_classify_files_here(glimt: Commands, tmp_path: Path) -> None:
    """A file, a folder and a zip, a damaged one among them: a line each, exit code 1 for the damaged one."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/bad.png").write_bytes(png(1)[:50])
    shutil.copy(DIGIT, tmp_path / "folder/seven.png")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as packed:
        packed.write(DIGIT, "packed-seven.png")
    sources = [str(DIGIT), str(tmp_path / "folder"), str(tmp_path / "packed.zip")]
    arguments = ["classify", *sources, "--ndjson", "--top", "2"]
    result = glimt(*arguments, data=tmp_path, GLIMT_MODEL="demo")
    lines = {Path(line["filename"]).name: line for line in map(orjson.loads, result.stdout.splitlines())}
    assert lines.keys() == {"digit-7.png", "bad.png", "seven.png", "packed-seven.png"}
    assert lines["seven.png"]["prediction"] == lines["packed-seven.png"]["prediction"] == "digit_7"
    assert len(lines["seven.png"]["predictions"]) == 2
    assert lines["bad.png"]["error"]["code"] == "image_corrupt"
    assert result.returncode == 1
