"""perf/request_cost.py: it takes the service apart by the names of its inside, so it must be tried."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_part_can_still_be_taken_out() -> None:
    """With each part off in turn the app still answers 200, under uvicorn and called directly."""
    command = [sys.executable, "-m", "perf.request_cost", "--requests", "3", "--rounds", "1"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert "cache and single flight" in run.stdout
    assert "top_k" in run.stdout
