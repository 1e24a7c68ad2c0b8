"""perf/swaps.py: its judgement of answers, and a short run against the real service on a fake engine."""

import asyncio
from pathlib import Path

import pytest

from perf.swaps import agrees, measure, parse
from service.models.registry import Registry
from tests.models.shelf import put
from tests.world import CLASSES, make_app, operator, under_uvicorn


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ({"cat": 0.9, "dog": 0.1}, {"cat": 0.90005, "dog": 0.1}, True),
        ({"cat": 0.9, "dog": 0.1}, {"cat": 0.9, "cow": 0.1}, True),
        ({"cat": 0.9, "dog": 0.1}, {"cat": 0.8, "dog": 0.1}, False),
        ({"cat": 0.9, "dog": 0.1}, {"cow": 0.9, "pig": 0.1}, False),
        ({"cat": 0.9, "dog": 0.1}, {}, False),
    ],
)
def test_what_counts_as_the_same_answer(one: dict[str, float], other: dict[str, float], alike: bool) -> None:
    """Rounding may differ and the last place change hands; another answer is another answer."""
    assert agrees(one, other) is alike


async def test_a_run_holds_answers_against_their_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every swap is made, every answer counted, by both versions."""
    refs = [put(Registry(tmp_path), content=content, classes=CLASSES).ref for content in (b"one", b"two")]
    monkeypatch.setattr("perf.swaps.CALM_SECONDS", 0.05)
    app = make_app(tmp_path, cache_entries=0)
    key = operator(tmp_path)["authorization"].removeprefix("Bearer ")
    monkeypatch.setattr("perf.swaps.bearer", lambda *_: lambda: key)
    options = parse(["--model", refs[0], "--other", refs[1], "--swaps", "6", "--clients", "3"])
    async with under_uvicorn(app) as port:
        await app.house.worker.loaded()
        well = await asyncio.wait_for(measure(options, port), 60)
    said = capsys.readouterr().out
    assert well, said
    assert "6 swaps" in said
    assert all(ref in said for ref in refs)
