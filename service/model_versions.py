"""`glimt models`: versions from the command line. What changes what is served goes through the service that runs in the
data folder, if one does; everything else is files."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from rich.markup import escape
from rich.table import Column, Table

from service.data_folder import claimed
from service.errors import BadRequest, Conflict
from service.http.model_documents import metrics_side_by_side, version_document
from service.models.exchange import export_version, import_version
from service.models.registry import Listed, Registry
from service.own_service import Refused, own_service
from service.settings import Settings
from service.terminal import printable

LOADING_S = 660.0
"""A large model may have to be prepared first, which may take ten minutes."""
CONFIGURED = "The model that the settings name"


class Versions:
    """Those of a data folder. Everything raises GlimtError in words for whoever types commands."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry = Registry(settings.data_path)

    def found(self, ref: str) -> str:
        """NAME:VERSION of it."""
        return self._registry.look(ref).ref

    def documents(self) -> list[dict[str, Any]]:
        """All, the newest first."""
        pointer = self._registry.pointer()
        return [version_document(it, pointer.served, pointer.previous) for it in self._registry.list()]

    def table(self) -> Table:
        """For people."""
        documents = self.documents()
        longest = max((len(it["ref"]) for it in documents), default=0)  # never broken: it is to be copied
        shown = Table(
            Column("model", no_wrap=True, min_width=longest), "", Column("right", justify="right"),
            Column("classes", justify="right"), "network", "made", box=None,
        )  # fmt: skip
        for it in documents:
            if it["damage"]:
                shown.add_row(escape(it["ref"]), "damaged", "", "", escape(printable(it["damage"])), "")
                continue
            accuracy = it["metrics"].get("accuracy")
            network = it["architecture"] + (" in int8" if it["precision"] == "int8" else "")
            shown.add_row(
                escape(it["ref"]), _standing(it), "" if accuracy is None else f"{accuracy:.1%}", str(it["classes"]),
                escape(printable(network)), f"{it['created']:%Y-%m-%d %H:%M}",
            )  # fmt: skip
        if not shown.row_count:
            shown.add_row("none yet: glimt train DATA makes one", "", "", "", "", "")
        return shown

    def comparison(self, one: str, other: str) -> dict[str, Any]:
        """Both, and every figure that either has."""
        sides = [self._registry.look(ref) for ref in (one, other)]
        pointer = self._registry.pointer()
        shown = [version_document(it, pointer.served, pointer.previous) for it in sides]
        return {"one": shown[0], "other": shown[1], "metrics": metrics_side_by_side(*map(_metrics, sides))}

    def comparison_table(self, one: str, other: str) -> Table:
        """For people."""
        found = self.comparison(one, other)
        sides = found["one"], found["other"]
        shown = Table("", *(Column(escape(it["ref"]), justify="right") for it in sides), box=None)
        for field in ("architecture", "precision", "classes"):
            shown.add_row(field, *(escape(printable(str(it[field]))) for it in sides))
        for name, values in found["metrics"].items():
            shown.add_row(escape(printable(name)), *("-" if value is None else f"{value:g}" for value in values))
        return shown

    async def activate(self, ref: str, *, override: bool) -> str:
        """What was done, in a sentence."""
        found = self.found(ref)
        try:
            return await self._activate(found, override=override)
        except (Conflict, Refused) as error:
            raise type(error)(error.detail + self._newer(ref, found)) from error

    async def _activate(self, found: str, *, override: bool) -> str:
        listed, served = self._registry.look(found), self._registry.pointer().served
        if not override and found != served and listed.manifest and listed.manifest.beats_served is False:
            raise Conflict(
                f"{found} was not better than what was served when it was trained. To serve it all the same: --override"
            )
        async with own_service(self._settings, patience_s=LOADING_S) as service:
            if service is not None:
                said = (
                    await service.ask("POST", f"/api/models/{found}/activate?override={str(override).lower()}")
                ).json()
                return f"{found} answers now.{_until(said)}"
        with claimed(self._settings.data_path):
            await asyncio.to_thread(self._registry.read, found)
            pointer = self._registry.pointer()
            if pointer.served == found:
                raise Conflict(f"{found} is what the next start serves already.")
            self._registry.point(found, pointer.served)
        return f"{found} is served from the next start, unless that names another with --model."

    def _newer(self, ref: str, found: str) -> str:
        """The words about it, when a name alone meant the one that is activated already."""
        if ":" in ref or found != self._registry.pointer().served:
            return ""
        newest = next((one.ref for one in self._registry.list() if one.ref.startswith(f"{ref}:")), found)
        return "" if newest == found else f" {newest} is newer: name it to serve that."

    async def roll_back(self) -> str:
        """What was done, in a sentence."""
        async with own_service(self._settings, patience_s=LOADING_S) as service:
            if service is not None:
                said = (await service.ask("POST", "/api/roll-back")).json()
                return f"{said['served'] or CONFIGURED} answers again.{_until(said)}"
        with claimed(self._settings.data_path):
            pointer = self._registry.pointer()
            if pointer.served == pointer.previous:
                raise Conflict("There is nothing to go back to: no other model was activated.")
            self._registry.point(pointer.previous, pointer.served)
        return f"{pointer.previous or CONFIGURED} is served from the next start."

    async def delete(self, ref: str) -> str:
        """What was done, in a sentence."""
        async with own_service(self._settings) as service:
            if service is not None:
                await service.ask("DELETE", f"/api/models/{ref}")
            else:
                with claimed(self._settings.data_path):
                    self._registry.delete(ref)
        return f"{ref} is deleted."

    def export(self, ref: str, file: Path | None) -> str:
        """What was done, in a sentence."""
        found = self.found(ref)
        target = file or Path(f"{found.replace(':', '-')}.tar")
        with _opened(target) as stream:
            export_version(self._registry, found, stream)
        return f"{found} is in {target}." if str(target) != "-" else f"{found} is written."

    def take_in(self, file: Path) -> str:
        """What was done, in a sentence."""
        with file.open("rb") as stream:
            version = import_version(self._registry, stream)
        return f"{version.ref} is here. To serve it: glimt models activate {version.ref}"


@contextmanager
def _opened(target: Path) -> Iterator[BinaryIO]:
    """A new file, which is there only when it is whole; or standard output. Raises BadRequest."""
    if str(target) == "-":
        yield sys.stdout.buffer
        return
    part = target.with_name(f".{target.name}.part")
    try:
        if target.exists():
            raise BadRequest(f"{target} exists already. Name another file.")
        with part.open("wb") as stream:
            yield stream
        os.replace(part, target)
    except OSError as error:
        raise BadRequest(f"{target} cannot be written: {error.strerror or error}.") from error
    finally:
        part.unlink(missing_ok=True)


def _standing(document: dict[str, Any]) -> str:
    if document["served"]:
        return "served"
    return "before" if document["previous"] else "not better" if document["beats_served"] is False else ""


def _metrics(listed: Listed) -> dict[str, float]:
    return listed.manifest.metrics if listed.manifest else {}


def _until(said: dict[str, Any]) -> str:
    return "" if said["lasts"] else " Until its next start: it was started with a model of its own named (--model)."
