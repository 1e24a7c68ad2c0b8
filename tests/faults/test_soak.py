"""Five minutes of everybody at once on the real service: does anything grow? perf/soak.py has the half hour."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from perf.soak import Sample, find

ROOT = Path(__file__).parents[2]
TIMINGS = {"loop lag, ms"}
"""Belong to benchmarks: other tests run beside this one."""


@pytest.mark.slow
def test_t46_nothing_grows_in_five_minutes(tmp_path: Path) -> None:
    """Memory, open files, threads and tasks have no slope that is no accident once it is warm."""
    soak = ["perf.soak", "--seconds", "300", "--model", "demo", "--out", str(tmp_path)]
    command = ["nice", "-n", "5", sys.executable, "-m", *soak]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    with (tmp_path / "soak.csv").open() as file:
        samples = [Sample(*map(float, row)) for row in list(csv.reader(file))[1:]]
    assert samples[-1].at_s > 280, done.stderr
    assert samples[-1].visits > 1_000
    grown = {finding.measure.words for finding in find(samples, warm_s=75) if finding.grows}
    assert not grown - TIMINGS, done.stdout
