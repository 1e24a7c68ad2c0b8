"""The names of an archive's members: as text to show, as labels, and as a first reason not to read one.

A name never becomes a path: there is nothing that a hostile one could do but look odd.
"""

import re
import unicodedata
import zlib
from typing import Literal, NamedTuple

Skip = Literal[
    "directory",
    "symlink",
    "device",
    "system_file",
    "nested_archive",
    "not_a_picture",
    "encrypted",
    "method",
    "too_large",
    "unreadable",
]

UTF8_FLAG = 0x800
MAX_NAME_LETTERS = 1_024
"""Beyond it the beginning is cut. No picture has such a name: four times the 260 letters of a path on Windows."""
MAX_LABEL_LETTERS = 255
"""The longest name of a folder in common file systems."""
UNSHOWABLE = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]")
"""Control characters, line and paragraph separators, and what turns the direction of writing."""
DRIVE = re.compile(r"\A[A-Za-z]:")
SYSTEM_FILES = {".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini"}
ARCHIVE = re.compile(r"\.(zipx?|jar|cb[rz]|7z|rar|tar|t?gz|t?bz2?|t?xz|t?zst|lz4|lzma|cab|iso|dmg)\Z")
OTHER = re.compile(
    r"\.(txt|md|rst|rtf|pdf|docx?|odt|xlsx?|ods|pptx?|csv|tsv|jsonl?|ndjson|xml|ya?ml|toml|ini|cfg|log|html?|css|js|py|ipynb"
    r"|sh|bat|exe|dll|so|h5|hdf5|keras|onnx|pth?|np[yz]|parquet|db|sqlite|mp[34]|wav|flac|ogg|m4[av]|mov|avi|mkv|webm)\Z"
)
"""Clearly no pictures. All else is read and judged by its content; pictures of kinds we do not take, too."""


class Name(NamedTuple):
    """`shown` is valid Unicode without control characters. `folders` counts them; `top` and `folder` are "" without."""

    shown: str
    top: str
    folder: str
    folders: int
    unsafe: bool


def read_name(raw: bytes, flags: int, unicode_path: bytes) -> Name:
    """A member's name. `unsafe` when the one shown differs from the one stored: it leads out of its folder, is a
    Windows path, has control characters, is no valid UTF-8 or too long."""
    stored = _decoded(raw, flags, unicode_path).removesuffix("/")
    path = DRIVE.sub("", UNSHOWABLE.sub("\ufffd", stored).replace("\\", "/"))
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    shown = _cut("/".join(parts), MAX_NAME_LETTERS) or "unnamed"
    top, folder = (parts[0], parts[-2]) if len(parts) > 1 else ("", "")
    # A Mac decomposes the letters of a folder. Cut first: the time that normalising takes can be quadratic.
    label = unicodedata.normalize("NFC", _cut(folder, MAX_LABEL_LETTERS))
    return Name(shown, top, label, max(0, len(parts) - 1), shown != stored or "\ufffd" in shown)


def skip_by_name(shown: str) -> Skip | None:
    """Why nobody needs to look into a member of that name."""
    *folders, name = shown.lower().split("/")
    if "__macosx" in folders or name in SYSTEM_FILES or name.startswith("._"):
        return "system_file"
    if ARCHIVE.search(name):
        return "nested_archive"
    return "not_a_picture" if OTHER.search(name) else None


def _decoded(raw: bytes, flags: int, unicode_path: bytes) -> str:
    """UTF-8 where the archive says so, or where it reads as such (macOS does not say so), else code page 437."""
    if unicode_path[:1] == b"\1" and unicode_path[1:5] == zlib.crc32(raw).to_bytes(4, "little"):
        raw, flags = unicode_path[5:], UTF8_FLAG
    try:
        return raw.decode("utf-8", "replace" if flags & UTF8_FLAG else "strict")
    except UnicodeDecodeError:
        return raw.decode("cp437")


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else "…" + text[1 - letters :]
