"""The lock on a data folder, on real files and real processes."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import orjson
import pytest

from service.data_folder import Holder, claimed, holder, lock_file
from service.errors import FolderTaken, StartError

URL = "http://127.0.0.1:8123"
CLAIM_AND_WAIT = """
import sys
from pathlib import Path
from service.data_folder import claimed
with claimed(Path(sys.argv[1])) as claim:
    claim.announce(sys.argv[2])
    print("claimed", flush=True)
    sys.stdin.read()
"""


def test_it_says_who_and_where(tmp_path: Path) -> None:
    """JSON with the process and, once it is known, the URL; a shorter one leaves nothing of a longer one."""
    with claimed(tmp_path) as claim:
        assert holder(tmp_path) == Holder(pid=os.getpid())
        claim.announce(URL + "0")
        claim.announce(URL)
        assert holder(tmp_path) == Holder(pid=os.getpid(), url=URL)
        assert orjson.loads(lock_file(tmp_path).read_bytes()) == {"pid": os.getpid(), "url": URL, "ending": False}


def test_nobody_holds_it_before_and_after(tmp_path: Path) -> None:
    """What an earlier service left in the file counts for nothing."""
    assert holder(tmp_path / "none") is None
    with claimed(tmp_path) as claim:
        claim.announce(URL)
    assert holder(tmp_path) is None
    assert URL in lock_file(tmp_path).read_text()


def test_the_folder_is_made_for_its_user_only(tmp_path: Path) -> None:
    """It will hold the key and the accounts."""
    with claimed(tmp_path / "new"):
        assert (tmp_path / "new").stat().st_mode & 0o077 == 0
        assert lock_file(tmp_path / "new").stat().st_mode & 0o077 == 0


def test_a_second_one_is_told_who_has_it(tmp_path: Path) -> None:
    """Process, URL and the ways out; exit code 3."""
    with claimed(tmp_path) as claim:
        claim.announce(URL)
        with pytest.raises(FolderTaken) as refused, claimed(tmp_path, wait_s=0):
            pass
    words = refused.value.detail
    for part in (str(tmp_path), URL, f"process {os.getpid()}", f"kill {os.getpid()}", "--data-dir"):
        assert part in words
    assert refused.value.exit_code == 3


def test_a_second_one_is_told_that_the_first_is_starting(tmp_path: Path) -> None:
    """Before there is a URL, and in the instant in which nothing is written yet."""
    with claimed(tmp_path):
        with pytest.raises(FolderTaken, match=f"process {os.getpid()}, which is starting"), claimed(tmp_path, wait_s=0):
            pass
        lock_file(tmp_path).write_text("")
        with pytest.raises(FolderTaken, match="another process, which is starting"), claimed(tmp_path, wait_s=0):
            pass


def test_one_that_ends_is_no_longer_where_it_was(tmp_path: Path) -> None:
    """A service that drained kept its URL in the file although its port was free: a command asked whoever listened
    there, with the key. It is withdrawn, and a second one is told why it must wait."""
    with claimed(tmp_path) as claim:
        claim.announce(URL)
        claim.withdraw()
        assert holder(tmp_path) == Holder(pid=os.getpid(), ending=True)
        with pytest.raises(FolderTaken, match=f"process {os.getpid()}, which is shutting down: try again"):
            claimed(tmp_path, wait_s=0).__enter__()


def test_one_that_is_just_ending_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart does not fail for a moment."""
    first = ExitStack()
    first.enter_context(claimed(tmp_path))
    monkeypatch.setattr("service.data_folder.time.sleep", lambda seconds: first.close())
    with claimed(tmp_path, wait_s=1000) as claim:
        claim.announce(URL)
        assert holder(tmp_path) == Holder(pid=os.getpid(), url=URL)


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    """kill -9: the system releases the lock."""
    command = [sys.executable, "-c", CLAIM_AND_WAIT, str(tmp_path), URL]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"claimed\n"
        assert holder(tmp_path) == Holder(pid=process.pid, url=URL)
        process.kill()
    with claimed(tmp_path, wait_s=0):
        assert holder(tmp_path) == Holder(pid=os.getpid())


def test_what_cannot_be_locked(tmp_path: Path) -> None:
    """A folder that cannot be made ends the start in words."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match=r"service.lock cannot be locked: .*--data-dir"), claimed(tmp_path / "file"):
        pass
