import json
from pathlib import Path
from typing import Any

import pytest

from service.errors import Conflict, FileDamaged, ModelUnavailable
from service.inference.labels import ClassTable
from service.inference.predictions import InputSpec
from service.models.versions import MANIFEST, ModelVersion, read_version, write_version

CLASSES = ClassTable(("cat", "dog"), ("n02121808", None), ("house cat", ""))


def write(directory: Path) -> ModelVersion:
    source = directory.parent / "source" / "pets.weights.h5"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(b"weights" * 100)
    return write_version(
        directory,
        name="pets",
        architecture="demo",
        input_spec=InputSpec(32, "unit"),
        metrics={"accuracy": 0.9},
        weights=source,
        classes=CLASSES,
    )


def change_manifest(directory: Path, **changes: Any) -> None:
    path = directory / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """A version comes back as it was given, under the beginning of its weights' hash."""
    written = write(tmp_path / "pets")
    read = read_version(tmp_path / "pets")
    assert read == written
    assert (read.name, read.architecture, read.input) == ("pets", "demo", InputSpec(32, "unit"))
    assert read.metrics == {"accuracy": 0.9}
    assert read.classes == CLASSES
    assert len(read.version) == 12
    assert read.weights.read_bytes() == b"weights" * 100


@pytest.mark.parametrize("name", ["pets.weights.h5", "classes.tsv"])
def test_one_flipped_byte_is_found_and_the_file_named(tmp_path: Path, name: str) -> None:
    """Every listed file is checked against its SHA-256."""
    write(tmp_path / "pets")
    path = tmp_path / "pets" / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileDamaged, match=name):
        read_version(tmp_path / "pets")


def test_a_listed_file_that_is_missing_is_named(tmp_path: Path) -> None:
    """A version copied in part is damaged."""
    write(tmp_path / "pets")
    (tmp_path / "pets" / "classes.tsv").unlink()
    with pytest.raises(FileDamaged, match=r"classes\.tsv"):
        read_version(tmp_path / "pets")


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"input": {"size": 32, "normalisation": "magic"}},
        {"weights": "../../secret"},
        {"files": {"../outside": "0" * 64}},
        {"files": {}},
        {"name": None},
        {"surprise": 1},
    ],
)
def test_a_manifest_that_makes_no_sense_is_damaged(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Wrong fields, paths that leave the folder and files that are not listed are refused, naming the manifest."""
    write(tmp_path / "pets")
    change_manifest(tmp_path / "pets", **changes)
    with pytest.raises(FileDamaged, match=r"manifest\.json"):
        read_version(tmp_path / "pets")


def test_a_manifest_that_is_no_json_is_damaged(tmp_path: Path) -> None:
    """Half a manifest is refused."""
    write(tmp_path / "pets")
    path = tmp_path / "pets" / MANIFEST
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FileDamaged, match=r"manifest\.json"):
        read_version(tmp_path / "pets")


def test_a_folder_without_manifest_is_no_version(tmp_path: Path) -> None:
    """Any folder is not a model: the missing manifest is named."""
    with pytest.raises(ModelUnavailable, match=r"manifest\.json"):
        read_version(tmp_path)


def test_a_version_is_never_written_over(tmp_path: Path) -> None:
    """The second write to the same place is a conflict and changes nothing."""
    written = write(tmp_path / "pets")
    with pytest.raises(Conflict):
        write(tmp_path / "pets")
    assert read_version(tmp_path / "pets") == written


def int8(directory: Path, content: bytes) -> ModelVersion:
    """A version as `glimt quantize` writes it, whose weights are `content`."""
    source = directory.parent / "source"
    source.mkdir(parents=True, exist_ok=True)
    for name, data in (("model.bin", content), ("model.xml", b"<net/>"), ("probe.npy", b"probe")):
        (source / name).write_bytes(data)
    return write_version(
        directory,
        name=directory.name,
        architecture="demo",
        input_spec=InputSpec(32, "unit"),
        metrics={"agreement": 0.98},
        weights=source / "model.bin",
        classes=CLASSES,
        precision="int8",
        others=[source / "model.xml", source / "probe.npy"],
    )


def test_an_int8_version_has_all_its_files_listed(tmp_path: Path) -> None:
    """Graph and probe are checked against their SHA-256 as the weights are."""
    assert int8(tmp_path / "pets", b"one").precision == "int8"
    (tmp_path / "pets" / "model.xml").write_bytes(b"<other/>")
    with pytest.raises(FileDamaged, match=r"model\.xml"):
        read_version(tmp_path / "pets")
