"""How long a batch takes, and what follows. Time is a table here."""

from pathlib import Path

import pytest

from service.inference.batches import CurvePoint
from service.inference.calibration import (
    DEFAULT,
    Batching,
    Curve,
    best,
    curve_file,
    item_seconds,
    keep_curve,
    measure,
    read_curve,
    still_true,
)
from service.inference.predictions import ModelInfo


class Machine:
    """A runner whose batches take what the table says, and its clock. Every first run of a size takes a second more."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds = seconds
        self.now = 0.0
        self.ran: list[int] = []

    def run(self, n: int) -> None:
        self.now += self.seconds[n] + (0 if n in self.ran else 1)
        self.ran.append(n)

    def clock(self) -> float:
        return self.now


def curve(ms: dict[int, float]) -> Curve:
    return tuple(CurvePoint(batch, taken) for batch, taken in ms.items())


def test_each_size_is_run_once_before_it_is_timed() -> None:
    """Planning is not part of the curve."""
    machine = Machine({n: 0.03 * n for n in (1, 2, 4, 8, 16, 32, 64)})
    assert [(point.batch, round(point.ms)) for point in measure(machine.run, clock=machine.clock)] == [
        (1, 30),
        (2, 60),
        (4, 120),
        (8, 240),
    ]


def test_larger_batches_are_measured_while_they_pay() -> None:
    """A device that takes the same time for up to 32 is measured up to 64; a processor core stops at 8."""
    machine = Machine({1: 0.1, 2: 0.1, 4: 0.1, 8: 0.1, 16: 0.1, 32: 0.1, 64: 0.2})
    assert [point.batch for point in measure(machine.run, clock=machine.clock)] == [1, 2, 4, 8, 16, 32, 64]


@pytest.mark.parametrize(
    ("ms", "chosen"),
    [
        pytest.param({}, DEFAULT, id="nothing measured"),
        pytest.param({1: 330, 2: 660, 4: 1320, 8: 2640}, Batching(1, 0.0), id="in proportion: batching pays nothing"),
        pytest.param({1: 330, 2: 660, 4: 1310, 8: 2600}, Batching(1, 0.0), id="less than 3 % is noise"),
        pytest.param({1: 33, 2: 66, 4: 132, 8: 264}, Batching(4, 0.0), id="the smallest that is as good as the best"),
        pytest.param({1: 10, 2: 19.4, 4: 38, 8: 75, 16: 148}, Batching(16, 0.6), id="a fast engine: each batch costs"),
        pytest.param({1: 100, 2: 100, 4: 100, 8: 100}, Batching(8, 5.0), id="a device: the longest window"),
        pytest.param({1: 0.2, 2: 0.22, 4: 0.5, 8: 0.9}, Batching(8, 0.2), id="a tiny model: nearly all is the batch"),
        pytest.param(
            {1: 100, 2: 250, 4: 500, 8: 1000}, Batching(1, 0.0), id="batches that cost more: none, and no window"
        ),
    ],
)
def test_the_best_batch_and_window(ms: dict[int, float], chosen: Batching) -> None:
    """From t(n) in milliseconds."""
    assert best(curve(ms)) == chosen


@pytest.mark.parametrize(("max_batch", "expected"), [(1, 0.1), (4, 0.05), (6, 0.05), (100, 0.04)])
def test_how_long_one_takes_in_a_batch(max_batch: int, expected: float) -> None:
    """By the largest batch that was measured and can occur."""
    assert item_seconds(curve({1: 100, 4: 200, 8: 320}), max_batch) == pytest.approx(expected)


@pytest.mark.parametrize(("now_s", "true"), [(0.033, True), (0.06, True), (0.07, False), (0.01, False)])
def test_a_kept_curve_is_checked(now_s: float, true: bool) -> None:
    """One that another machine left, or a busy moment, is measured anew."""
    machine = Machine({1: now_s})
    assert still_true(curve({1: 33, 2: 66}), machine.run, clock=machine.clock) is true
    assert not still_true((), machine.run, clock=machine.clock)


def test_the_curve_is_kept(tmp_path: Path) -> None:
    """What was measured once is read by the next start and by `glimt doctor`."""
    path = curve_file(tmp_path, ModelInfo("resnet50", "1", "openvino", "random"))
    keep_curve(path, curve({1: 33.125, 2: 66}))
    assert read_curve(path) == curve({1: 33.125, 2: 66})


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"[[1]]", b'[["a", 2]]', b"[[1, null]]", b"{}", b"\xff"])
def test_a_damaged_curve_is_measured_again(tmp_path: Path, content: bytes) -> None:
    """It counts as none."""
    path = tmp_path / "curve.json"
    path.write_bytes(content)
    assert read_curve(path) == ()


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    """The next start measures again."""
    (tmp_path / "file").touch()
    keep_curve(tmp_path / "file" / "curve.json", curve({1: 1}))
    assert read_curve(tmp_path / "file" / "curve.json") == ()
