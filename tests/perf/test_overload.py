"""perf/overload.py: what it claims of a storm, and one run on the real service with a fake engine."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from perf import overload as module
from perf.clients import ANSWERED, BROKEN, Asked
from perf.overload import Memory, Queue, Run, claims, goodput, measure, parse, report, statuses
from perf.storm import Offer, Storm, unleash
from tests.fakes import GatedEngine
from tests.world import make_app, png, under_uvicorn

OFFERS = [
    *(Offer(n / 10, 0.001, 0.5, ANSWERED, 1000) for n in range(10)),
    *(Offer(n / 100, 0.001, 0.004, "503", 1000, 9) for n in range(80)),
    *(Offer(n / 10, 0.001, 0.006, "503", 2_000_000, 9) for n in range(8)),
    *(Offer(0.1, 0.001, 0.9, "503", 1000, 9, waited=True) for _ in range(2)),
]
GOOD = Run(
    calm_per_s=8.0,
    rate=100.0,
    storm=Storm(100, OFFERS, 1.0, 0.2, Counter({ANSWERED: 1}), 0.1, 30),
    memory=Memory(300.0, [300.0, 350.0, 352.0, 351.0], 355.0, 351.0),
    queue=Queue(256, 16),
    counted=Counter({ANSWERED: 10, "503": 90}),
    lag_ms=5.0,
)


def with_offers(*more: Offer, offered: int = 100) -> Run:
    return GOOD._replace(storm=GOOD.storm._replace(offers=[*OFFERS[len(more) :], *more], offered=offered))


def broken(run: Run) -> list[str]:
    return [claim.words for claim in claims(run) if not claim.holds]


def test_a_storm_as_it_should_be() -> None:
    """Everything holds. Answers that came in time are counted, refusals by the size of the picture."""
    run = GOOD._replace(calm_per_s=5.0)
    assert broken(run) == []
    assert goodput(run.storm) == 5
    said = "\n".join(report(run))
    assert "offered 100/s (20.0 x calm)" in said
    assert "ledger: refused 88, answered 10, sent away 2" in said
    assert "refused, picture as it is: p50 4.0 ms, p99 4.0 ms of 80" in said
    assert "refused, picture 1 MiB: p50 6.0 ms, p99 6.0 ms of 8" in said
    assert "memory: 300 MiB before, 355 at the peak, 351 after" in said
    assert "DID NOT KEEP UP" not in said


@pytest.mark.parametrize(
    ("run", "claim"),
    [
        (with_offers(Offer(0.0, 0.0, 0.1, BROKEN, 1000)), "lost 1"),
        (with_offers(offered=101), "lost 1"),
        (GOOD._replace(counted=Counter({ANSWERED: 9, "503": 90})), "counted the same"),
        (with_offers(*[Offer(0.0, 0.0, 0.06, "503", 1000, 9)] * 2), "refusals within 50 ms"),
        (GOOD._replace(queue=Queue(2, 1)), "answers within the queue's 0.4 s"),
        (GOOD._replace(calm_per_s=6.0), "answers in the storm"),
        (GOOD._replace(memory=Memory(300, [300, 320, 330, 340], 340, 300)), "memory grew by 20.0 MiB"),
        (GOOD._replace(storm=GOOD.storm._replace(fresh_s=None)), "a fresh request"),
    ],
)
def test_a_claim_that_does_not_hold_is_named(run: Run, claim: str) -> None:
    """Each for its own reason."""
    assert any(claim in words for words in broken(run))


def test_a_generator_that_was_late_says_so() -> None:
    """Its times are not the service's then."""
    late = [offer._replace(late_s=0.5) for offer in OFFERS]
    run = GOOD._replace(storm=GOOD.storm._replace(offers=late))
    assert "IT DID NOT KEEP UP" in "\n".join(report(run))


def test_only_the_answers_about_pictures_are_counted() -> None:
    """By status, whatever else was asked."""
    figures = {
        'glimt_requests_total{method="POST",route="/predict",status="200"}': 3.0,
        'glimt_requests_total{method="GET",route="/metrics",status="200"}': 9.0,
        'glimt_requests_total{method="POST",route="/predict",status="503"}': 2.0,
    }
    assert statuses(figures) == {"200": 3, "503": 2}


async def test_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's own count is the clients', the fresh request left out."""

    def here(
        port: int, pictures: Sequence[bytes], rate: float, seconds: float, look: Callable[[], float]
    ) -> tuple[Storm, list[float]]:
        return unleash(port, pictures, rate, seconds), [look()]

    monkeypatch.setattr(module, "apart", here)
    monkeypatch.setattr(module, "closed_loop", lambda *_: [Asked(n, 0.8, ANSWERED) for n in range(10)])
    options = parse(["--seconds", "0.4", "--times", "10", "--quiet", "0"])
    app = make_app(tmp_path, GatedEngine(), cache_entries=0)
    async with under_uvicorn(app) as port:
        run = await asyncio.to_thread(measure, options, [png(1), png(2)], port, os.getpid())
    assert run.rate == pytest.approx(200)
    assert run.counted == {"200": run.storm.offered}
    assert run.queue == Queue(app.house.classifier.stats().max_pending, 16)
    assert next(claims(run)).holds


@pytest.mark.parametrize(("run", "code"), [(GOOD._replace(calm_per_s=5.0), 0), (GOOD, 1)])
def test_the_exit_code_tells(
    run: Run, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """1 when a claim does not hold, which is named."""

    @contextmanager
    def serving(settings: dict[str, str], data: Path, further: list[str]) -> Iterator[tuple[int, int]]:
        assert settings == {"engine": "openvino", "model": "demo"}
        yield 17, 8017

    monkeypatch.setattr(module, "serving", serving)
    monkeypatch.setattr(module, "measure", lambda *_: run)
    (tmp_path / "one.png").write_bytes(png(1))
    monkeypatch.setattr(sys, "argv", ["overload", "--model", "demo", "--images", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code == code
    assert ("BROKEN  answers in the storm" in capsys.readouterr().out) == bool(code)


@pytest.mark.slow
async def test_the_storm_comes_from_a_process_of_its_own(tmp_path: Path) -> None:
    """And the service is looked at meanwhile."""
    async with under_uvicorn(make_app(tmp_path, GatedEngine())) as port:
        storm, seen = await asyncio.to_thread(module.apart, port, [png(1)], 50.0, 0.5, lambda: 1.0)
    assert storm.offered == len(storm.offers) > 5
    assert len(seen) >= 1
