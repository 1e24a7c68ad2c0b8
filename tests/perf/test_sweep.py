"""The sweep: its grid, its rates, and one run on a fake service."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perf import sweep as module
from perf.report import Result
from perf.sweep import facts, grid, parse, rates_for, run, sweep, write
from service.errors import BadRequest
from service.tuning import load
from service.tuning.grid import Visit
from service.tuning.load import Closed
from service.tuning.setting import Setting
from service.tuning.target import Target
from service.tuning.verdict import Verdict
from tests.tuning.fake_service import FakeService
from tests.tuning.loads import load as load_of


@pytest.mark.parametrize(
    ("batches", "waits", "expected"),
    [
        ([1, 8], [0, 5], [Setting(1, 5), Setting(8, 0)]),
        ([2], [0], [Setting(2, 0), Setting(2, 5), Setting(8, 0)]),  # the reference's own values make the grid whole
        ([1], [5], [Setting(1, 5)]),
        ([8], [5], []),
    ],
)
def test_grid(batches: list[int], waits: list[float], expected: list[Setting]) -> None:
    """All combinations but the reference; one cell for batches of one, which never wait."""
    assert grid(Setting(8, 5), batches, waits) == expected


def test_further_options_go_to_serve(tmp_path: Path) -> None:
    """What stands after -- ."""
    options = parse(["--out", str(tmp_path), "--clients", "4", "--", "--decode-threads", "1"])
    assert (options.clients, options.serve) == ([4], ["--decode-threads", "1"])


@pytest.mark.slow
async def test_a_sweep_of_a_fake_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every load and cell is visited twice, the files are written, the setting comes back."""
    fake = FakeService(setup_ms=5, setting=Setting(4, 5))
    monkeypatch.setattr(load, "RAMP_S", 0.0)
    options = parse(["--out", str(tmp_path / "out"), "--seconds", "0.2", "--clients", "4", "--rates", "100"])
    options.batches, options.waits, options.images = [1, 4], [0, 5], None
    async with fake.running() as url:
        results: list[Result] = []
        await sweep(options, "openvino", Target(url), results)
    assert [result.load for result in results] == ["4 clients", "100 pictures/s"]
    for result in results:
        assert {cell.setting: len(cell.loads) for cell in result.verdict.cells} == {
            Setting(1, 5): 2, Setting(4, 0): 2, Setting(4, 5): 3,
        }  # fmt: skip
    assert fake.setting == Setting(4, 5)
    assert 0 < rates_for(results[:1])[0] < rates_for(results[:1])[1]
    write(options.out, options, results)
    assert {"report.md", "cells.csv", "visits.csv", "openvino-closed-curve.svg"} <= {
        path.name for path in options.out.iterdir()
    }


@pytest.mark.slow
async def test_a_later_load_that_fails_loses_no_earlier_one(tmp_path: Path) -> None:
    """What was appended before the service refused everything is there."""
    fake = FakeService(setup_ms=5, setting=Setting(1, 5))
    options = parse(["--out", str(tmp_path), "--seconds", "0.1", "--clients", "1", "--rates", "0.001"])
    options.batches, options.waits, options.images = [1], [5], None
    results: list[Result] = []
    async with fake.running() as url:
        with pytest.raises(BadRequest, match="no picture was answered"):
            await sweep(options, "openvino", Target(url), results)
    assert [result.load for result in results] == ["1 client"]


@pytest.mark.parametrize("error", [BadRequest("too much"), KeyboardInterrupt()])
def test_what_was_measured_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Also when the sweep is interrupted."""

    @contextmanager
    def no_service(arguments: list[str], data: Path) -> Iterator[tuple[int, int]]:
        yield 0, 0

    async def fail(options: object, engine: str, target: Target, results: list[Result]) -> None:
        visits = (Visit(Setting(1, 5), load_of(10, 100)),) * 2
        results.append(Result(engine, visits, Verdict.of(visits, Setting(1, 5), 250, Closed(1))))
        raise error

    monkeypatch.setattr(module, "service", no_service)
    monkeypatch.setattr(module, "sweep", fail)
    with pytest.raises(type(error)):
        run(parse(["--out", str(tmp_path / "out")]))
    assert "1 client" in (tmp_path / "out" / "cells.csv").read_text()


def test_a_folder_is_named_without_its_path(tmp_path: Path) -> None:
    """In the facts; without one the pictures were made."""
    (tmp_path / "cats").mkdir()
    options = parse(["--out", str(tmp_path), "--images", str(tmp_path / "cats")])
    assert facts(options)["pictures"] == "of cats"
    options.images = None
    assert facts(options)["pictures"].startswith("made")


def test_a_figure_stands_with_its_machine_command_and_commit(tmp_path: Path) -> None:
    """And says what the pictures were."""
    found = facts(parse(["--out", str(tmp_path)]))
    assert found.keys() >= {"machine", "command", "commit", "date", "model", "pictures", "visits"}
    assert all(found.values())
