"""Where the pictures of a job come from, as its runner sees it: entries in an order that stays, and their bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from service.bulk.names import Name, Skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One file. `size` is the declared one, in bytes; `folder` the label; `skip` why it is not to be read."""

    index: int
    name: str
    folder: str | None
    size: int
    skip: Skip | None
    unsafe_name: bool


class Source(Protocol):
    """Opened. Any number of threads may read from it at once."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All there is, each at its index, whenever it is opened."""

    def read(self, entry: Entry) -> bytes:
        """The bytes of one entry, `entry.size` of them. Blocking.

        Raises ImageError when it holds something else, ValueError for an entry that is to be skipped, OSError when the
        disk fails.
        """


class Found(NamedTuple):
    """A file, before it is known whether folders are labels."""

    name: Name
    size: int
    skip: Skip | None


def make_entries(found: Sequence[Found]) -> tuple[Entry, ...]:
    """Each with the folder it lies in for its label."""
    tops = {it.name.top for it in found if it.skip is None}
    # A folder round everything is how one packs; it says nothing about any of the pictures.
    around = 1 if len(tops) == 1 else 0
    return tuple(
        Entry(index, name.shown, name.folder if name.folders > around else None, size, skip, name.unsafe)
        for index, (name, size, skip) in enumerate(found)
    )
