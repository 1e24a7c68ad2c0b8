"""Loads made up for the tests of pure rules."""

from service.tuning.load import Load
from service.tuning.target import Batches

FULL = Batches(32, (("full", 4),), ((4.0, 0), (8.0, 4), (float("inf"), 4)))


def load(per_s: float, p95_ms: float = 100, *, p50_ms: float = 50, refused: int = 0, late: int = 0) -> Load:
    """A stretch in which 100 pictures were answered."""
    return Load(100, per_s, p50_ms, p95_ms, p95_ms * 1.2, refused, {}, late, FULL)
