"""The shapes of what is asked about jobs: how one comes in, and the queries that choose among them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.http.documents import example
from service.store.feedback import MAX_ID
from service.store.job_rows import MAX_FOLDER_CHARS, ItemFilter, ItemStatus

MAX_LIMIT = 200
MAX_LABEL_CHARS = 200
Format = Literal["json", "pairs", "ndjson", "csv"]
Label = Annotated[str, Field(max_length=MAX_LABEL_CHARS, pattern=r"^[^\x00]*$")]


class ZipForm(BaseModel):
    """A zip archive as a form's part."""

    file: bytes = Field(description="The archive. Any part with a file name is taken, whatever its field name.")


class FolderBody(BaseModel):
    """A folder on the service's own disk, for admins, below one that the operator allowed (GLIMT_JOB_FOLDERS)."""

    model_config = ConfigDict(extra="forbid") | example({"folder": "/srv/photos/holidays"})

    folder: str = Field(max_length=MAX_FOLDER_CHARS, description="Its whole path on the service's machine.")


class NewJobQuery(BaseModel):
    """The query of POST /api/jobs."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("", description="What the archive is called, for show; a part's file name comes first.")


class JobsQuery(BaseModel):
    """The query of GET /api/jobs."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=MAX_LIMIT, description="Jobs in the answer.")
    before: int | None = Field(None, ge=1, le=MAX_ID, description="The id of the last job seen: older ones follow.")


class EndJobQuery(BaseModel):
    """The query of DELETE /api/jobs/{id}."""

    model_config = ConfigDict(extra="forbid")

    remove: bool = Field(False, description="Remove it with its answers and its archive, be it over or not.")


class ItemsQuery(BaseModel):
    """The query of GET /api/jobs/{id}/items."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(60, ge=1, le=MAX_LIMIT, description="Pictures in the answer.")
    after: int = Field(-1, ge=-1, le=2**31 - 1, description="The position of the last picture seen.")
    label: Label | None = Field(None, description="Only those with this label first.")
    status: ItemStatus | None = Field(None, description="Only those that are done, failed, or were skipped.")
    most: float | None = Field(None, ge=0, le=1, allow_inf_nan=False, description="Only those with at most this score.")
    wrong: bool = Field(False, description="Only those whose folder names a class that is not their first label.")

    def chosen(self, classes: frozenset[str]) -> ItemFilter:
        """As the store wants it. `classes` are those that folders name."""
        return ItemFilter(self.label or None, self.status, self.most, classes if self.wrong else None)


class ResultsQuery(BaseModel):
    """The query of GET /api/jobs/{id}/results."""

    model_config = ConfigDict(extra="forbid")

    format: Format | None = Field(
        None,
        description="Comes before Accept. pairs: a JSON array of [name, [[label, probability], ...]] of what was "
        "answered. csv, for spreadsheets: a text that would be a formula has an apostrophe before it.",
    )
