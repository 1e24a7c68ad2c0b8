"""Uploaded sets of labelled pictures: zips of class folders, looked through when they come, kept to be trained with.

<data>/datasets/<id>/data.zip       as it came
                     about.json     About
"""

import re
import secrets
import shutil
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from service.counting import counted
from service.errors import BadRequest, Conflict, NotFound
from service.files import replace_file
from service.training.sources import MAX_CLASSES, open_source

FILE = "data.zip"
MAX_DATASETS = 100
"""Kept at once: each may have as many bytes as the largest archive."""
ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")


class About(BaseModel):
    """`classes`: pictures by class, as their folders say, before any was decoded. `bytes` of the zip."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    created: datetime
    bytes: int
    classes: dict[str, int]
    unlabelled: int


class Datasets:
    """Those of a data folder. Blocking."""

    def __init__(self, data_path: Path, *, max_picture_bytes: int) -> None:
        self.folder = data_path / "datasets"
        self._max_picture_bytes = max_picture_bytes

    def place(self) -> Path:
        """Where a new one goes: its zip, in a folder that is not there yet. Raises Conflict when there are too many."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if len(list(self.folder.iterdir())) >= MAX_DATASETS:
            raise Conflict(f"There are {MAX_DATASETS} datasets, the limit. Remove one first.")
        return self.folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}" / FILE

    def add(self, zip_file: Path, name: str) -> About:
        """Look through one that was put in its place; one that cannot be used is removed.

        Raises BadRequest, ArchiveInvalid, ArchiveTooLarge, OSError.
        """
        folder = zip_file.parent
        try:
            with open_source(zip_file, self._max_picture_bytes) as found:
                classes = Counter(one.label for one in found if one.label is not None)
                unlabelled = sum(one.label is None for one in found)
            if len(classes) > MAX_CLASSES:
                raise BadRequest(f"There are {len(classes):,} classes; at most {MAX_CLASSES:,} are allowed.")
            if len(classes) < 2:
                raise BadRequest(
                    f"The pictures are in {counted(len(classes), 'folder')} named as classes; at least 2 are needed: a "
                    "folder for each class, with its pictures inside."
                )
            about = About(
                id=folder.name, name=name, created=datetime.now(UTC), bytes=zip_file.stat().st_size,
                classes=dict(sorted(classes.items())), unlabelled=unlabelled,
            )  # fmt: skip
            replace_file(folder / "about.json", about.model_dump_json().encode())
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return about

    def all(self) -> list[About]:
        """Newest first."""
        found = []
        with suppress(FileNotFoundError):
            for path in sorted(self.folder.iterdir(), reverse=True):
                with suppress(NotFound):
                    found.append(self.get(path.name))
        return found

    def get(self, dataset_id: str) -> About:
        """Raises NotFound."""
        try:
            if ID.fullmatch(dataset_id):
                return About.model_validate_json((self.folder / dataset_id / "about.json").read_bytes())
        except (OSError, ValidationError):
            pass
        raise NotFound(f"There is no dataset {dataset_id!r}.")

    def source(self, dataset_id: str) -> str:
        """For Order.source. Raises NotFound."""
        return str((self.folder / self.get(dataset_id).id / FILE).absolute())

    def remove(self, dataset_id: str) -> None:
        """Runs that have gathered its pictures keep those. Raises NotFound."""
        shutil.rmtree(self.folder / self.get(dataset_id).id)

    def sweep(self) -> None:
        """Remove what a crash left half done. Nothing may be arriving meanwhile."""
        with suppress(FileNotFoundError):
            for path in [path for path in self.folder.iterdir() if not (path / "about.json").exists()]:
                shutil.rmtree(path, ignore_errors=True)
