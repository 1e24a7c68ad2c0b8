import fcntl
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import FileDamaged, ModelUnavailable
from service.models.architectures import ARCHITECTURES, OfficialWeights
from service.models.weights import HDF5_SIGNATURE, TRIES, cached, obtain
from service.settings import Settings
from tests.models.site import Site, running

CONTENT = HDF5_SIGNATURE + bytes(range(256)) * 12_000  # 3 MB: three chunks
OFFICIAL = OfficialWeights("resnet/file.h5", hashlib.md5(CONTENT).hexdigest())
UNHASHED = OfficialWeights("mobilenet/file.h5", None)


@pytest.fixture(autouse=True)
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Never the real ~/.keras."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras"


@pytest.fixture
def site() -> Iterator[Site]:
    with running(Site(CONTENT)) as site:
        yield site


def settings(site: Site, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", weights_site=site.url)


def test_a_good_file_is_fetched_once(site: Site, tmp_path: Path) -> None:
    """It arrives under the official path's name, whole, with nothing left beside it; the next start asks nobody."""
    path = obtain(OFFICIAL, settings(site, tmp_path))
    assert path == tmp_path / "data" / "weights" / "file.h5"
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert obtain(OFFICIAL, settings(site, tmp_path)) == path
    assert site.requests == [("/keras/resnet/file.h5", None)]


def test_a_cut_connection_is_resumed(site: Site, tmp_path: Path) -> None:
    """What came is kept, and only the rest is asked for."""
    site.cuts = [2_000_000, 1_000]
    path = obtain(OFFICIAL, settings(site, tmp_path), pause_s=0)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in site.requests] == [None, "bytes=2000000-", "bytes=2001000-"]


def test_a_later_start_resumes(site: Site, tmp_path: Path) -> None:
    """A download given up is continued by the next start."""
    site.cuts = [1_000_000, 0, 0, 0]
    with pytest.raises(ModelUnavailable, match=f"broke off {TRIES} times"):
        obtain(OFFICIAL, settings(site, tmp_path), pause_s=0)
    assert len(site.requests) == TRIES
    site.requests.clear()
    assert obtain(OFFICIAL, settings(site, tmp_path)).read_bytes() == CONTENT
    assert [asked for _, asked in site.requests] == ["bytes=1000000-"]


def test_another_file_on_the_site_starts_over(site: Site, tmp_path: Path) -> None:
    """If-Range: when the file changed in between, the halves are not put together."""
    new = HDF5_SIGNATURE + bytes(3_000_000)
    site.cuts = [1_000_000, 0, 0, 0]
    with pytest.raises(ModelUnavailable):
        obtain(OFFICIAL, settings(site, tmp_path), pause_s=0)
    site.content, site.etag = new, '"two"'
    official = OfficialWeights("resnet/file.h5", hashlib.md5(new).hexdigest())
    assert obtain(official, settings(site, tmp_path)).read_bytes() == new


@pytest.mark.parametrize(("ranges", "etag"), [(False, '"one"'), (True, None), (True, 'W/"one"')])
def test_a_server_that_cannot_resume_sends_all_again(
    site: Site, tmp_path: Path, ranges: bool, etag: str | None
) -> None:
    """No ranges, or nothing (strong) that identifies the file: from the beginning, and right in the end."""
    site.ranges, site.etag, site.cuts = ranges, etag, [2_000_000]
    assert obtain(OFFICIAL, settings(site, tmp_path), pause_s=0).read_bytes() == CONTENT
    assert len(site.requests) == 2


def test_a_part_as_long_as_the_file_starts_over(site: Site, tmp_path: Path) -> None:
    """416 for a part that is no beginning of the file is answered by starting over, not by failing for ever."""
    part = tmp_path / "data" / "weights" / "file.h5.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(len(CONTENT)))
    part.with_name("file.h5.part.etag").write_text('"one"')
    assert obtain(OFFICIAL, settings(site, tmp_path), pause_s=0).read_bytes() == CONTENT


def test_a_truncated_file_is_not_used(site: Site, tmp_path: Path) -> None:
    """A file that ends early without the server noticing has a wrong hash."""
    site.content = CONTENT[:-1000]
    with pytest.raises(ModelUnavailable, match="hash is wrong"):
        obtain(OFFICIAL, settings(site, tmp_path))
    assert cached(OFFICIAL, settings(site, tmp_path)) is None


def test_a_wrong_hash_leaves_nothing(site: Site, tmp_path: Path) -> None:
    """The wrong file is deleted, so that the next start does not continue it."""
    site.content = CONTENT[:-1] + b"!"
    with pytest.raises(ModelUnavailable, match="hash is wrong"):
        obtain(OFFICIAL, settings(site, tmp_path))
    assert list((tmp_path / "data" / "weights").iterdir()) == []


def test_404_says_what_and_where(site: Site, tmp_path: Path, keras_home: Path) -> None:
    """A missing file is not tried again; the words name the address, the answer and the places looked at."""
    site.status = 404
    with pytest.raises(ModelUnavailable) as caught:
        obtain(OFFICIAL, settings(site, tmp_path))
    assert len(site.requests) == 1
    for part in (f"{site.url}/resnet/file.h5", "404", str(tmp_path / "data" / "weights"), str(keras_home / "models")):
        assert part in caught.value.detail


def test_a_busy_server_is_tried_again(site: Site, tmp_path: Path) -> None:
    """A 503 passes."""
    site.failures = 2
    assert obtain(OFFICIAL, settings(site, tmp_path), pause_s=0).read_bytes() == CONTENT


def test_no_network_fails_at_once(site: Site, tmp_path: Path) -> None:
    """Nobody listens: one try, in words."""
    gone = Settings(data_dir=tmp_path / "data", weights_site="http://127.0.0.1:1/keras")
    with pytest.raises(ModelUnavailable, match=r"127\.0\.0\.1:1/keras/resnet/file\.h5 cannot be reached"):
        obtain(OFFICIAL, gone, pause_s=1000)


@pytest.mark.parametrize("address", ["nonsense", "ftp://x/y", "http://[::1", ""])
def test_a_site_that_is_no_address_is_said(tmp_path: Path, address: str) -> None:
    """A mistyped --weights-site is an error in words, not a traceback."""
    with pytest.raises(ModelUnavailable):
        obtain(OFFICIAL, Settings(data_dir=tmp_path / "data", weights_site=address), pause_s=0)


def test_keras_own_cache_is_used(site: Site, tmp_path: Path, keras_home: Path) -> None:
    """Who has used Keras has the file already, where KERAS_HOME says."""
    theirs = keras_home / "models" / "file.h5"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(CONTENT)
    assert obtain(OFFICIAL, settings(site, tmp_path)) == theirs
    assert site.requests == []


def test_a_damaged_cached_file_is_fetched_again(site: Site, tmp_path: Path) -> None:
    """A cached file with a wrong hash is never used when a right one can be had."""
    own = tmp_path / "data" / "weights" / "file.h5"
    own.parent.mkdir(parents=True)
    own.write_bytes(CONTENT[:-1] + b"!")
    assert obtain(OFFICIAL, settings(site, tmp_path)).read_bytes() == CONTENT


def test_a_damaged_cached_file_without_network_is_named(site: Site, tmp_path: Path) -> None:
    """When a damaged file is all there is, the error names it."""
    own = tmp_path / "data" / "weights" / "file.h5"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"damaged")
    site.status = 404
    with pytest.raises(FileDamaged, match=str(own)):
        obtain(OFFICIAL, settings(site, tmp_path))


def test_where_no_hash_is_published_the_type_is_checked(site: Site, tmp_path: Path) -> None:
    """A login page instead of weights is noticed even without a hash."""
    site.content = b"<html>please log in</html>"
    with pytest.raises(ModelUnavailable, match="not the official file"):
        obtain(UNHASHED, settings(site, tmp_path))
    site.content = CONTENT
    assert obtain(UNHASHED, settings(site, tmp_path)).read_bytes() == CONTENT


def test_two_processes_do_not_write_one_file(site: Site, tmp_path: Path) -> None:
    """While another holds the part, this one says so and touches nothing."""
    part = tmp_path / "data" / "weights" / "file.h5.part"
    part.parent.mkdir(parents=True)
    with part.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ModelUnavailable, match="Another process"):
            obtain(OFFICIAL, settings(site, tmp_path))
    assert site.requests == []


def test_a_data_folder_that_cannot_be_written_is_named(site: Site, tmp_path: Path) -> None:
    """No right to keep the file: the folder is in the words."""
    (tmp_path / "data").touch()
    with pytest.raises(ModelUnavailable, match=r"cannot be kept in .*weights"):
        obtain(OFFICIAL, settings(site, tmp_path))


def test_a_mirror_has_the_same_paths(site: Site, tmp_path: Path) -> None:
    """EfficientNet's file lies beside the others' folder on Keras's site, and so it does on a mirror."""
    official = ARCHITECTURES["efficientnet_b0"].official
    assert official is not None
    site.status = 404
    with pytest.raises(ModelUnavailable):
        obtain(official, settings(site, tmp_path))
    assert site.requests == [("/keras-applications/efficientnetb0.h5", None)]
