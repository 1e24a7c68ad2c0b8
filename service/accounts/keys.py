"""This installation's own key, the JWTs signed with it, and secrets that only their owner keeps."""

import hashlib
import os
import re
import secrets
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import jwt

from service.errors import StartError
from service.files import sync
from service.store.users import User

JWT_LIFE_S = 30 * 60
TOKEN_PREFIX = "glimt_"
LOCAL = "local"
"""The subject of a JWT that somebody made who can read the key: there is no account behind it."""

_ALGORITHM, _ISSUER, _AUDIENCE = "HS256", "glimt", "glimt-api"
_HEADER = {"alg": _ALGORITHM, "typ": "JWT"}
_CLAIMS = ["exp", "iat", "iss", "aud", "sub", "ver"]
_MAX_JWT_CHARS = 1024
"""Ours have about 250."""
_SHAPE = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
"""Without the padding that decoders take and encoders leave out: a token has one spelling only."""
_KEY_BYTES = 32
_SUBJECT = re.compile(r"[0-9]{1,10}|local")


def key_file(data_path: Path) -> Path:
    """Where the key is."""
    return data_path / "secret.key"


def read_or_make_key(data_path: Path) -> bytes:
    """The installation's key, made at its first start, readable by its user only. Blocking. Raises StartError."""
    path = key_file(data_path)
    with suppress(FileNotFoundError):
        return read_key(data_path)
    try:
        data_path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=data_path, prefix=".secret-", delete=False) as file:  # mode 0600
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(file.name, path)  # never over one that another process has just made
        except FileExistsError:
            pass
        finally:
            os.unlink(file.name)
        sync(data_path)
        return read_key(data_path)
    except OSError as error:
        raise StartError(f"The key {path} cannot be made: {error.strerror or error}.") from error


def read_key(data_path: Path) -> bytes:
    """The key. Blocking. Raises FileNotFoundError before the first start, StartError when it is damaged or may be known
    to others."""
    path = key_file(data_path)
    try:
        with path.open("rb") as file:
            key, about, folder = file.read(_KEY_BYTES + 1), os.fstat(file.fileno()), os.stat(data_path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StartError(f"The key {path} cannot be read: {error.strerror or error}.") from error
    if len(key) != _KEY_BYTES:
        raise StartError(
            f"The key {path} has {about.st_size} bytes instead of {_KEY_BYTES}. Restore it, or remove it: a new one is "
            "made at the next start, and tokens from POST /login that are in use must be fetched again."
        )
    if about.st_mode & 0o077:
        raise StartError(
            f"The key {path} is open to other users of this machine (mode {about.st_mode & 0o777:04o}), and whoever "
            f"knows it can do everything here. Close it: chmod 600 {path}. If somebody may have seen or put it there, "
            "remove it: a new one is made at the next start."
        )
    if about.st_uid not in (os.geteuid(), folder.st_uid):  # root may look into the folder of the service's user
        raise StartError(
            f"The key {path} belongs to another user (uid {about.st_uid}), who can do everything here with it. Remove "
            "it: a new one is made at the next start. If it is yours from before a move: chown it to the user the "
            f"service runs as, and chmod 600 {path}."
        )
    return key


class Signer:
    """JWTs: HS256, half an hour, for this service only (RFC 7519; checked as RFC 8725 asks)."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, subject: str, version: int, *, life_s: int = JWT_LIFE_S) -> str:
        """A token for an account's id, or LOCAL. `version` ends it when the account's has moved on."""
        now = int(time.time())
        claims = {"sub": subject, "ver": version, "iat": now, "exp": now + life_s, "iss": _ISSUER, "aud": _AUDIENCE}
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def sign_for(self, user: User) -> str:
        """A token for this account as it is now."""
        return self.sign(user.owner, user.token_version)

    def read(self, token: str) -> tuple[str, int] | None:
        """Subject and version of a token that holds; None for any other, whatever is wrong with it."""
        if len(token) > _MAX_JWT_CHARS or not _SHAPE.fullmatch(token):
            return None
        try:
            if jwt.get_unverified_header(token) != _HEADER:  # no crit, no key of the caller's choice
                return None
            claims = self._claims(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            return None
        subject, version = claims["sub"], claims["ver"]
        if not _SUBJECT.fullmatch(subject) or type(version) is not int:
            return None
        return subject, version

    def _claims(self, token: str) -> dict[str, Any]:
        return jwt.decode(
            token, self._key, [_ALGORITHM], options={"require": _CLAIMS}, issuer=_ISSUER, audience=_AUDIENCE
        )


def new_secret(prefix: str = "") -> str:
    """256 bits for a token or a session."""
    return prefix + secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is stored of it. A plain hash: nobody guesses 256 bits."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
