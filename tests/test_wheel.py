"""What `pip install` brings: the command works from the wheel alone, without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built and unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*build, str(folder), str(ROOT)], check=True, capture_output=True)
    (built,) = folder.glob("glimt-*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "service/_web/templates/index.html",
        "service/_web/static/app.css",
        "service/_web/static/vendor/htmx-2.0.11.min.js",
        "service/_web/static/vendor/swagger-ui-bundle-5.35.0.js",
        "service/_web/static/vendor/swagger-ui-5.35.0.css",
        "service/_web/static/vendor/swagger-ui-LICENSE",
        "service/models/imagenet_classes.tsv",
        "service/models/demo/manifest.json",
        "service/models/demo/demo.weights.h5",
        "service/store/migrations/env.py",
        "service/store/migrations/versions/v0001_feedback.py",
    ],
)
def test_wheel_carries(wheel: Path, name: str) -> None:
    """Templates, static files, class table, demo model and migrations travel in it."""
    assert (wheel / name).is_file()


@pytest.mark.slow
def test_the_command_works_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """It classifies with the demo model, far away from the checkout."""
    digit = wheel / "service/_web/static/examples/digit-7.png"
    environment = os.environ | {"PYTHONPATH": str(wheel), "GLIMT_MODEL": "demo", "GLIMT_DATA_DIR": str(tmp_path)}
    code = "import service.app, service.cli; print(service.app.WEB); service.cli.app()"
    command = [sys.executable, "-P", "-c", code, "classify", str(digit), "--ndjson"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert str(wheel) in result.stdout.splitlines()[0]
    assert '"prediction":"digit_7"' in result.stdout
