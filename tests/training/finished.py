"""The folders of runs that are over, as a trainer leaves them. Nothing was trained for them."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from service.training.dataset import Dataset, write_dataset
from service.training.pixels import PixelFile
from service.training.report import Report
from service.training.runs import Run, Runs, Status
from tests.training.pictures import a_run
from tests.training.reports import a_dataset, a_report, epochs

VERSION = "pets:0123456789ab"
"""As the report calls what was published."""
ENDED = datetime(2026, 1, 2, 3, 9, tzinfo=UTC)


def done(data: Path, report: Report | None = None, **order: Any) -> Run:
    """One with its pictures, its report and all sheets."""
    run, report, dataset = a_run(data, "pets.zip", **order), report or a_report(), a_dataset()
    gather(run, dataset)
    learn(run)
    (run.folder / "report.json").write_bytes(report.to_json())
    for name in ("augmentation", "map-1", "map-2", "map-3"):
        (run.folder / f"{name}.png").write_bytes(_picture("PNG"))
    maps = {"samples": [0, 5, 10], "layers": [{"name": "block_3", "shape": [8, 8, 24]}]}
    (run.folder / "maps.json").write_text(json.dumps(maps))
    end(run, state="done", version=VERSION)
    return run


def failed(data: Path, **order: Any) -> Run:
    """One whose disk was full, after an epoch."""
    run = a_run(data, "pets.zip", **order)
    learn(run, 1)
    (run.folder / "trainer.log").write_text("INFO fitting\nERROR No space left on device\n")
    end(run, state="failed", code="store_full", detail="The disk is full. Free some room and start the run again.")
    return run


def gather(run: Run, dataset: Dataset | None = None) -> None:
    """Its pictures: each of one colour."""
    dataset = dataset or a_dataset()
    with PixelFile(run.folder, dataset.size) as file:
        for sample in dataset.samples:
            file.add(np.full((dataset.size, dataset.size, 3), sample.index % 256, np.uint8))
        file.finish([sample.index for sample in dataset.samples])
    write_dataset(run.folder, dataset)


def learn(run: Run, count: int = 11) -> None:
    """Some epochs."""
    for epoch in epochs(8, 3)[:count]:
        run.add(epoch)


def end(run: Run, **status: Any) -> None:
    """Its last word."""
    run.write(Status(created=run.status().created, ended=ENDED).model_copy(update=status))


def going_on(data: Path, run: Run, **status: Any) -> Any:
    """`with going_on(...)`: somebody trains it."""
    run.write(run.status().model_copy(update={"state": "fitting"} | status))
    return Runs(data).training(run)


def _picture(form: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (112, 112), "teal").save(file, form)
    return file.getvalue()
