"""The installation's key, and which JWTs hold. Whether their account does is the business of accounts."""

import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.accounts.keys import LOCAL, TOKEN_PREFIX, Signer, digest, key_file, new_secret, read_key, read_or_make_key
from service.errors import StartError
from tests.accounts.forgeries import ATTACKERS_KEY, forgeries

KEY = b"k" * 32
FORGERIES = dict(forgeries(KEY, "7", 1))
NOT_THE_SIGNERS = ("nobody's subject", "a subject no row can have", "an older version", "a later version")
TOKEN = Signer(KEY).sign("7", 1, life_s=10**9)


def test_its_own_tokens_hold() -> None:
    """Subject and version come back, an account's and the local one's; another key's do not."""
    signer = Signer(KEY)
    assert signer.read(signer.sign("7", 3)) == ("7", 3)
    assert signer.read(signer.sign(LOCAL, 0)) == (LOCAL, 0)
    assert signer.read(Signer(ATTACKERS_KEY).sign("7", 3)) is None


def test_a_token_lasts_half_an_hour() -> None:
    """By its own claims, from now."""
    claims = jwt.decode(Signer(KEY).sign("7", 1), KEY, ["HS256"], audience="glimt-api")
    assert claims["exp"] - claims["iat"] == 1800
    assert abs(claims["iat"] - time.time()) < 60


@pytest.mark.parametrize("what", [what for what in FORGERIES if what not in NOT_THE_SIGNERS])
def test_a_forgery_does_not_hold(what: str) -> None:
    """Each way that RFC 8725 warns of: None, and no exception."""
    assert Signer(KEY).read(FORGERIES[what]) is None


@settings(max_examples=500)
@given(st.integers(0, len(TOKEN)), st.characters(max_codepoint=0x2FF), st.sampled_from(["put", "insert", "cut"]))
@example(len(TOKEN), "=", "insert")
@example(len(TOKEN) - 2, "=", "insert")
def test_a_changed_token_does_not_hold(at: int, letter: str, how: str) -> None:
    """One letter changed, added or cut off anywhere, and it is no token: each has one spelling only."""
    changed = TOKEN[:at] + ("" if how == "cut" else letter) + TOKEN[at + (how != "insert") :]
    assert (Signer(KEY).read(changed) is not None) == (changed == TOKEN)


@pytest.mark.parametrize("letter", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=")
def test_the_last_letter_has_no_twin(letter: str) -> None:
    """Two of its bits are unused: three other letters would decode to the same signature."""
    assert (Signer(KEY).read(TOKEN[:-1] + letter) is not None) == (letter == TOKEN[-1])


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda data: data.decode("latin-1")))
def test_any_text_is_answered(text: str) -> None:
    """Whatever somebody sends as a token: None."""
    assert Signer(KEY).read(text) is None


def test_the_key_is_made_once(tmp_path: Path) -> None:
    """Readable by its user only, the same at the next start, and nothing else is left in the folder."""
    folder = tmp_path / "data"
    key = read_or_make_key(folder)
    assert len(key) == 32
    assert stat.S_IMODE(key_file(folder).stat().st_mode) == 0o600
    assert read_or_make_key(folder) == read_key(folder) == key
    assert os.listdir(folder) == ["secret.key"]


def test_two_starts_at_once_have_one_key(tmp_path: Path) -> None:
    """Whichever was first; the other takes it."""
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(read_or_make_key, [tmp_path] * 32))) == 1


def test_a_damaged_key_is_no_key(tmp_path: Path) -> None:
    """A short one would be guessed: the start fails in words that say what to do."""
    key_file(tmp_path).write_bytes(b"short")
    with pytest.raises(StartError, match="5 bytes instead of 32"):
        read_or_make_key(tmp_path)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o602])
def test_a_key_that_others_may_use_is_no_key(tmp_path: Path, mode: int) -> None:
    """One that somebody had put there, open to all, was taken without a word: the way out is said, and it works."""
    key = read_or_make_key(tmp_path)
    key_file(tmp_path).chmod(mode)
    with pytest.raises(StartError, match=rf"mode {mode:04o}\).*chmod 600 .*secret.key"):
        read_or_make_key(tmp_path)
    key_file(tmp_path).chmod(0o600)
    assert read_or_make_key(tmp_path) == key


@pytest.mark.parametrize(("key_of", "folder_of", "holds"), [(0, 0, True), (7, 0, False), (7, 7, True), (0, 7, True)])
def test_a_key_of_another_user_is_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key_of: int, folder_of: int, holds: bool
) -> None:
    """Its owner knows it, whatever its mode. But root may read the key of the folder's own user."""
    read_or_make_key(tmp_path)
    real, real_of_open, me = os.stat, os.fstat, os.geteuid()

    def owned(about: os.stat_result, by: int) -> os.stat_result:
        return os.stat_result((*about[:4], me + by, *about[5:10]))

    monkeypatch.setattr("service.accounts.keys.os.fstat", lambda file: owned(real_of_open(file), key_of))
    monkeypatch.setattr("service.accounts.keys.os.stat", lambda path: owned(real(path), folder_of))
    if holds:
        assert len(read_key(tmp_path)) == 32
        return
    with pytest.raises(StartError, match=rf"belongs to another user \(uid {me + 7}\).*Remove"):
        read_key(tmp_path)


def test_a_key_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """A file where the folder should be: the start fails, naming the key."""
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(StartError, match="secret"):
        read_or_make_key(tmp_path / "data")


def test_secrets_are_long_and_not_alike() -> None:
    """256 bits, told from JWTs by their prefix; what is stored does not show them."""
    made = {new_secret(TOKEN_PREFIX) for _ in range(100)}
    assert len(made) == 100
    assert all(len(secret) == len(TOKEN_PREFIX) + 43 for secret in made)
    assert all(len(digest(secret)) == 64 and secret not in digest(secret) for secret in made)
