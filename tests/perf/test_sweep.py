"""The sweep: its grid, its rates, and one run on a fake service."""

from pathlib import Path

import pytest

from perf.sweep import facts, grid, parse, rates_for, sweep, write
from service.tuning import load
from service.tuning.setting import Setting
from tests.tuning.fake_service import FakeService


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
        results = await sweep(options, "openvino", int(url.rpartition(":")[2]))
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


def test_a_figure_stands_with_its_machine_command_and_commit(tmp_path: Path) -> None:
    """And says what the pictures were."""
    found = facts(parse(["--out", str(tmp_path)]))
    assert found.keys() >= {"machine", "command", "commit", "date", "model", "pictures", "visits"}
    assert all(found.values())
