"""perf/beside.py: its arithmetic on given figures, and that it minds its command."""

import pytest

from perf import beside
from perf.beside import measure, parse, running
from perf.clients import Latencies
from service.tuning.pictures import Distinct

PICTURES = Distinct([b"picture"])


def test_each_round_is_compared_with_its_neighbours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a machine that slows down all the while the mean of both is taken."""
    rounds = iter([(10.0, Latencies(10, 20, 30)), (8.0, Latencies(15, 60, 70)), (6.0, Latencies(20, 40, 50))])
    monkeypatch.setattr(beside, "look", lambda *_: next(rounds))
    measure(parse(["--rounds", "1", "--settle", "0", "--command", "sleep 60"]), PICTURES, 8000)
    assert "pictures/s 1.00, p50 1.00, p95 2.00" in capsys.readouterr().out


def test_a_command_that_ends_too_early_is_said() -> None:
    """Its rounds would have measured nothing."""
    with (
        pytest.raises(SystemExit, match=r"ended too early \(3\): no such data"),
        running("sh -c 'echo no such data >&2; exit 3'", 0.2),
    ):
        pass
