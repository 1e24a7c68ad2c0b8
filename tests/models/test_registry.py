import os
from pathlib import Path

import pytest

from service.errors import Conflict, FileDamaged, ModelUnavailable, NotFound
from service.models.registry import Listed, Pointer, Registry
from service.models.versions import MANIFEST
from tests.models.shelf import CLASSES, put


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def test_a_published_version_is_read_by_name_and_by_version(registry: Registry) -> None:
    """Under the beginning of its weights' hash."""
    written = put(registry)
    assert registry.read("pets") == registry.read(written.ref) == written
    assert (written.ref, written.classes) == (f"pets:{written.version}", CLASSES)


def test_the_same_weights_are_not_published_twice(registry: Registry) -> None:
    """The second is a conflict and changes nothing."""
    written = put(registry)
    with pytest.raises(Conflict, match="exists already"):
        put(registry)
    assert registry.read("pets") == written


def test_a_name_alone_means_the_newest(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time at which it was made; the list has it first."""
    old, new = put(registry, content=b"old"), put(registry, content=b"new")
    manifest = new.weights.parent / MANIFEST
    manifest.write_text(manifest.read_text().replace(f'"created": "{new.created.year}', '"created": "2999'))
    assert registry.read("pets").ref == new.ref
    assert [one.ref for one in registry.list()] == [new.ref, old.ref]


def test_a_name_alone_means_the_activated_one(registry: Registry) -> None:
    """What was chosen is not overtaken by what was trained since."""
    first, _ = put(registry, content=b"first"), put(registry, content=b"second")
    registry.point(first.ref, None)
    assert registry.read("pets").ref == first.ref


@pytest.mark.parametrize("ref", ["../x", "", ".", "a/b", ".hidden", "x" * 65, "a\nb", "a\n", "a:", "a:../b", "a:b:c"])
def test_a_name_is_never_a_path(registry: Registry, ref: str) -> None:
    """What cannot be a model's name is refused before any folder is looked at."""
    with pytest.raises(ModelUnavailable, match="cannot be a model's name"):
        registry.folder_of(ref)


@pytest.mark.parametrize("ref", ["dogs", "pets:000000000000"])
def test_what_is_not_there_is_said_to_be_so(registry: Registry, ref: str) -> None:
    """An unknown name, and an unknown version of a known one."""
    put(registry)
    with pytest.raises(NotFound, match=ref):
        registry.read(ref)


def test_an_architectures_name_cannot_be_taken(registry: Registry) -> None:
    """--model resnet50 would go on meaning the architecture."""
    with pytest.raises(Conflict, match="is an architecture"):
        put(registry, "resnet50")


def test_a_failed_write_leaves_nothing(registry: Registry) -> None:
    """A version appears whole or not at all."""
    with pytest.raises(FileNotFoundError):
        put(registry, others=[registry.folder / "gone.json"])
    assert registry.list() == []
    assert not any(path.is_file() for path in registry.folder.rglob("*"))


def test_a_damaged_manifest_is_listed_last_with_its_damage(registry: Registry) -> None:
    """It neither hides the others nor disappears."""
    whole, damaged = put(registry, content=b"whole"), put(registry, content=b"damaged")
    (damaged.weights.parent / MANIFEST).write_text("{}")
    listed = registry.list()
    assert [one.ref for one in listed] == [whole.ref, damaged.ref]
    assert listed[0].damage is None
    assert "manifest.json is damaged" in str(listed[1].damage)


def test_a_renamed_folder_is_no_version(registry: Registry) -> None:
    """An answer would name another version than was asked for."""
    folder = put(registry).weights.parent
    folder.rename(folder.with_name("other"))
    with pytest.raises(FileDamaged, match=r"holds pets:"):
        registry.read("pets:other")


def test_a_deleted_version_leaves_nothing(registry: Registry) -> None:
    """Its name neither, when it was the last of it."""
    registry.delete(put(registry).ref)
    assert list(registry.folder.iterdir()) == []


@pytest.mark.parametrize("which", ["served", "previous"])
def test_what_is_in_use_is_not_deleted(registry: Registry, which: str) -> None:
    """Neither what is served nor what a roll-back brings back."""
    ref = put(registry).ref
    registry.point(*((ref, None) if which == "served" else (None, ref)))
    with pytest.raises(Conflict):
        registry.delete(ref)
    assert registry.read(ref).ref == ref


def test_nothing_is_served_until_it_was_said(registry: Registry) -> None:
    """Without a pointer it is the model that the settings name."""
    assert registry.pointer() == Pointer()
    said = registry.point("pets:1", "pets:0")
    assert registry.pointer() == said
    assert (said.served, said.previous) == ("pets:1", "pets:0")


def test_a_damaged_pointer_is_named_with_the_way_out(registry: Registry) -> None:
    """It is never taken for none."""
    registry.point("pets:1", None)
    (registry.folder / "served.json").write_text("{")
    with pytest.raises(FileDamaged, match=r"served\.json cannot be read\. Way out: delete it"):
        registry.pointer()


def test_a_pointer_that_cannot_be_written_stays_as_it_was(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing lies beside it."""
    before = registry.point("pets:1", None)

    def no_room(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(OSError, match="No space left"):
        registry.point("pets:2", "pets:1")
    assert registry.pointer() == before
    assert [path.name for path in registry.folder.iterdir()] == ["served.json"]


def test_a_model_cannot_be_called_like_the_pointer(registry: Registry) -> None:
    """Its folder would be where the pointer belongs: nothing could be activated, and no start found its model."""
    with pytest.raises(Conflict, match="registry's own"):
        put(registry, "Served.json")


def test_what_is_deleted_meanwhile_is_not_listed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the folders and the look into one."""
    gone, stays = put(registry, content=b"gone").ref, put(registry, content=b"stays").ref
    look = registry._listed

    def slow(folder: Path) -> Listed:
        if folder.name in gone and folder.exists():
            registry.delete(gone)
        return look(folder)

    monkeypatch.setattr(registry, "_listed", slow)
    assert [one.ref for one in registry.list()] == [stays]
