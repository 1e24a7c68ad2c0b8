"""perf/reference_a.py: the table out of Locust's CSV, and one real run."""

import asyncio
from importlib.util import find_spec
from pathlib import Path

import pytest

from perf.reference_a import Level, parse, run, table
from tests.world import make_app, under_uvicorn

CSV = """\
Type,Name,Request Count,Failure Count,Median Response Time,Requests/s,Failures/s,50%,95%
GET,A: /,400,0,4,6.6,0.0,4,9
POST,A: /login,10,0,30,0.1,0.0,30,31
POST,A: /model/predict,200,20,80,3.0,0.3,80,190
POST,A: /model/predict refused,7,0,1,0.1,0.0,1,2
GET,A: / signed out,2,0,1,0.1,0.0,1,2
,Aggregated,619,20,6,9.9,0.3,6,110
"""


def test_a_level_says_what_locust_counted(tmp_path: Path) -> None:
    """Failed predictions are requests but no predictions; refusals and ended tokens are counted, not hidden."""
    (path := tmp_path / "10_stats.csv").write_text(CSV)
    assert Level.read(path, 10) == Level(
        users=10,
        requests_per_s=9.9,
        all_ms=(6.0, 110.0),
        predictions_per_s=2.7,
        predict_ms=(80.0, 190.0),
        refused=7,
        signed_out=2,
        failed=20,
        requests=619,
    )


def test_the_table_has_as_own_figures_beside_ours() -> None:
    """Where A has published none there is a dash; every line has as many cells as the first."""
    levels = [Level(users, 9.94, (6, 110), 2.7, (80, 190), 7, 0, 20, 619) for users in (25, 30)]
    first, _, published, other = table(levels).splitlines()
    ours = "9.9 | 6, 110 | 2.7 | 80, 190 | 7 | 0 | 20 of 619"
    assert published == f"| 25 | {ours} | 6.4 | 830 | 0 % |"
    assert other == f"| 30 | {ours} | - | - | - |"
    assert {line.count("|") for line in (published, other)} == {first.count("|")}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("locust") is None, reason="Locust is not installed: pip install -e '.[load]'")
async def test_a_real_run(tmp_path: Path) -> None:
    """Locust itself writes what is read, against the real service with the demo account."""
    async with under_uvicorn(make_app(tmp_path / "data", demo_account=True)) as port:
        options = parse(["--out", str(tmp_path), "--url", f"http://127.0.0.1:{port}", "--seconds", "8"])
        level = await asyncio.to_thread(run, 8, options)
    assert (level.users, level.failed) == (8, 0)
    assert 0 < level.predictions_per_s < level.requests_per_s
