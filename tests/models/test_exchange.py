import io
import re
import tarfile
from pathlib import Path

import pytest

from service.errors import ArchiveInvalid, ArchiveTooLarge, Conflict, StoreFull
from service.models import exchange
from service.models.exchange import SMALL, export_version, import_version
from service.models.registry import Registry
from service.models.versions import CLASSES, MANIFEST
from tests.models.shelf import put


@pytest.fixture
def here(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "there")


def exported(registry: Registry, ref: str = "pets") -> bytes:
    target = io.BytesIO()
    export_version(registry, ref, target)
    return target.getvalue()


def packed(files: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w|") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), "/etc/passwd"
            tar.addfile(member, io.BytesIO(content))
    return target.getvalue()


def with_fields(fields: dict[str, str]) -> bytes:
    """A file of the PAX format, and what stands before it there."""
    member = tarfile.TarInfo("weights")
    member.pax_headers = fields
    return member.tobuf(tarfile.PAX_FORMAT) + bytes(1024)


def unpacked(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def test_a_version_travels(here: Registry, there: Registry) -> None:
    """All that its manifest lists comes out as it went in, under the same name."""
    extra = here.folder.parent / "report.json"
    extra.parent.mkdir(parents=True)
    extra.write_text("{}")
    sent = put(here, others=[extra])
    came = import_version(there, io.BytesIO(exported(here)))
    assert (came.ref, came.classes, came.metrics) == (sent.ref, sent.classes, sent.metrics)
    assert (came.weights.parent / "report.json").read_text() == "{}"
    assert there.read("pets") == came


def test_what_is_here_already_is_a_conflict(here: Registry) -> None:
    """And it stays as it is."""
    written = put(here)
    with pytest.raises(Conflict, match="is here already"):
        import_version(here, io.BytesIO(exported(here)))
    assert here.read("pets") == written


def test_who_exported_it_is_not_told(here: Registry) -> None:
    """Neither user nor group."""
    put(here)
    with tarfile.open(fileobj=io.BytesIO(exported(here))) as tar:
        assert {(member.uid, member.gid, member.uname, member.gname) for member in tar} == {(0, 0, "", "")}


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/b", ".hidden", "x" * 65])
def test_a_name_that_is_a_path_is_refused(there: Registry, name: str) -> None:
    """Nothing is written outside, nor inside."""
    with pytest.raises(ArchiveInvalid, match="not a plain file"):
        import_version(there, io.BytesIO(packed({name: b"x"})))
    assert not any(path.is_file() for path in there.folder.parent.rglob("*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_only_plain_files_are_taken(there: Registry, kind: bytes) -> None:
    """No links, devices or folders."""
    with pytest.raises(ArchiveInvalid, match="not a plain file"):
        import_version(there, io.BytesIO(packed({"weights": b""}, kind)))


def test_one_changed_byte_is_found(here: Registry, there: Registry) -> None:
    """The file that is not what the manifest says is named, without a path of this machine."""
    put(here)
    files = unpacked(exported(here))
    files["pets.weights.h5"] = b"WEIGHTS"
    with pytest.raises(ArchiveInvalid, match=r"pets\.weights\.h5 is damaged") as caught:
        import_version(there, io.BytesIO(packed(files)))
    assert str(there.folder) not in caught.value.detail
    assert list(there.folder.iterdir()) == []


def test_what_the_manifest_does_not_list_is_left_out(here: Registry, there: Registry) -> None:
    """Nobody vouches for it."""
    put(here)
    came = import_version(there, io.BytesIO(packed(unpacked(exported(here)) | {"run-me.py": b"print()"})))
    assert not (came.weights.parent / "run-me.py").exists()


def test_a_truncated_file_is_no_version(here: Registry, there: Registry) -> None:
    """Wherever it ends, words say so and nothing stays."""
    put(here)
    whole = exported(here)
    for length in range(0, len(whole.rstrip(b"\0")), 256):
        with pytest.raises(ArchiveInvalid):
            import_version(there, io.BytesIO(whole[:length]))
    assert list(there.folder.iterdir()) == []


def test_too_much_is_refused_while_reading(there: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the sizes and the number of the files."""
    monkeypatch.setattr(exchange, "MAX_BYTES", 100)
    with pytest.raises(ArchiveTooLarge):
        import_version(there, io.BytesIO(packed({MANIFEST: b"x" * 101})))
    monkeypatch.setattr(exchange, "MAX_FILES", 2)
    with pytest.raises(ArchiveTooLarge):
        import_version(there, io.BytesIO(packed({"a": b"", "b": b"", "c": b""})))


def test_a_network_out_of_proportion_is_refused(here: Registry, there: Registry) -> None:
    """A foreign recipe must not make this machine build a layer of a billion units."""
    put(here)
    files = unpacked(exported(here))
    files[MANIFEST] = files[MANIFEST].replace(b'"dense": 0', b'"dense": 1000000000')
    with pytest.raises(ArchiveInvalid, match=r"recipe\.dense"):
        import_version(there, io.BytesIO(packed(files)))


def test_a_version_by_another_name_is_refused(here: Registry, there: Registry) -> None:
    """Answers are kept by the version's name: two models of one name would answer for each other."""
    version = put(here).version
    files = unpacked(exported(here))
    files[MANIFEST] = files[MANIFEST].replace(f'"{version}"'.encode(), b'"latest"')
    with pytest.raises(ArchiveInvalid, match="beginning of its hash"):
        import_version(there, io.BytesIO(packed(files)))


def test_a_file_that_is_there_twice_is_refused(there: Registry) -> None:
    """It was said to be a full disk."""
    twice = packed({"a": b"1"})[:1024] + packed({"a": b"2"})
    with pytest.raises(ArchiveInvalid, match="there twice"):
        import_version(there, io.BytesIO(twice))


def test_a_time_before_all_time_is_refused(here: Registry, there: Registry) -> None:
    """It could not be sorted: from then on no version could be listed."""
    put(here)
    files = unpacked(exported(here))
    files[MANIFEST] = re.sub(rb'"created": "[^"]*"', b'"created": "0001-01-01T00:00:00"', files[MANIFEST])
    with pytest.raises(ArchiveInvalid, match="created"):
        import_version(there, io.BytesIO(packed(files)))


@pytest.mark.parametrize("name", [MANIFEST, CLASSES])
def test_what_is_read_as_a_whole_is_small(there: Registry, name: str) -> None:
    """A manifest of 100 MB took 500 MB of memory, at each look at the list."""
    with pytest.raises(ArchiveTooLarge, match="huge"):
        import_version(there, io.BytesIO(packed({name: bytes(SMALL[name] + 1)})))


def test_a_file_with_holes_is_refused(there: Registry) -> None:
    """Some bytes may say that they are two gigabytes of nothing."""
    with pytest.raises(ArchiveInvalid, match="not a plain file"):
        import_version(there, io.BytesIO(packed({"weights": b""}, tarfile.GNUTYPE_SPARSE)))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"comment": "x" * exchange.MAX_HEADER_BYTES}, "not a plain file"),
        ({"GNU.sparse.map": "a,b"}, "not a model version"),
        ({"GNU.sparse.map": "0,0", "GNU.sparse.size": "2000"}, "not a plain file"),
    ],
    ids=["large", "no numbers", "holes"],
)
def test_fields_that_make_no_sense_are_refused(there: Registry, fields: dict[str, str], said: str) -> None:
    """tarfile believes them: 150 MB of them took 500 MB of memory, others were an error 500."""
    with pytest.raises(ArchiveInvalid, match=said):
        import_version(there, io.BytesIO(with_fields(fields)))


def test_fields_before_fields_without_end_are_refused(there: Registry) -> None:
    """tarfile goes deeper with each."""
    with pytest.raises(ArchiveInvalid):
        import_version(there, io.BytesIO(with_fields({"comment": "x"})[:1024] * 2000))


def test_a_full_disk_is_said(here: Registry, there: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is left."""
    put(here)
    data = exported(here)

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("service.models.exchange.shutil.copyfileobj", no_room)
    with pytest.raises(StoreFull, match="No space left"):
        import_version(there, io.BytesIO(data))
    assert list(there.folder.iterdir()) == []
