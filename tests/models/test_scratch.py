"""What a killed process left in the registry is gone after the next start, and nothing else is."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service import cli
from service.errors import ModelUnavailable
from service.models.exchange import export_version
from service.models.registry import Registry
from service.settings import Settings
from tests.models.shelf import put

DIES = """
import io, os, signal, sys
from pathlib import Path
from service.models import exchange, registry, versions

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

registry.put = versions.put = registry.shutil.rmtree = die
there = registry.Registry(Path(sys.argv[1]))
if sys.argv[2] == "import":
    exchange.import_version(there, sys.stdin.buffer)
elif sys.argv[2] == "delete":
    there.delete("pets")
else:
    from tests.models.shelf import put
    put(there, content=b"more")
"""


def hidden(registry: Registry) -> list[Path]:
    return [*registry.folder.glob(".*"), *registry.folder.glob("*/.*")]


@pytest.mark.parametrize("deed", ["import", "delete", "publish"])
def test_what_a_kill_left_is_swept(tmp_path: Path, deed: str) -> None:
    """Each left up to 2 GiB that nobody saw and nothing removed."""
    registry, tar = Registry(tmp_path / "here"), io.BytesIO()
    put(registry)
    export_version(registry, "pets", tar)
    where = tmp_path / ("there" if deed == "import" else "here")
    done = subprocess.run([sys.executable, "-c", DIES, where, deed], input=tar.getvalue(), capture_output=True)
    assert done.returncode == -9, done.stderr
    left = Registry(where)
    assert len(hidden(left)) == 1
    left.sweep()
    assert hidden(left) == []
    assert len(left.list()) == (1 if deed == "publish" else 0)


def test_what_is_being_imported_stays(tmp_path: Path) -> None:
    """A command may import while a service starts."""
    registry = Registry(tmp_path)
    with registry.scratch() as made:
        registry.sweep()
        assert made.is_dir()
    assert hidden(registry) == []


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    """A hidden folder of somebody else's, a link that leads elsewhere, a file."""
    registry, elsewhere = Registry(tmp_path), tmp_path / "elsewhere"
    version = put(registry)
    (elsewhere / "kept").mkdir(parents=True)
    os.symlink(elsewhere, registry.folder / ".incoming-link")
    (registry.folder / ".incoming-file").touch()
    (registry.folder / ".snapshot").mkdir()
    registry.sweep()
    assert (elsewhere / "kept").is_dir()
    assert (registry.folder / ".snapshot").is_dir()
    assert registry.read("pets") == version


def test_a_start_sweeps(tmp_path: Path) -> None:
    """Once it holds the data folder's lock; here it ends for another reason."""
    left = tmp_path / "models" / ".incoming-x"
    left.mkdir(parents=True)
    with pytest.raises(ModelUnavailable):
        cli.run_service(Settings(data_dir=tmp_path, model="none", port=0))
    assert not left.exists()
