"""perf/soak.py and perf/visitors.py: who comes, what counts as growth, and a short run on a fake engine."""

import asyncio
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path

import httpx2
import pytest

from perf import soak as module
from perf import visitors as visitors_module
from perf.soak import MEASURES, Sample, failed, find, judge, parse, soak, write
from perf.visitors import ANSWERED, FINE, Visitors
from service.errors import Unavailable
from service.inference.engines.engine import Pixels, Scores
from tests.fakes import GatedEngine
from tests.warp import warped
from tests.world import free_socket, make_app, png, under_uvicorn, until

CHANCE = random.Random(1)


def samples(resident: Callable[[float], float]) -> list[Sample]:
    """Two hundred, one each ten seconds, of a service whose memory is as told and everything else level."""
    return [
        Sample(at_s, resident(at_s) + CHANCE.uniform(-1, 1), 100, 30, 20, 15, 1.0, 256, CHANCE.randrange(9), at_s)
        for at_s in range(10, 2010, 10)
    ]


def grown(found: list[Sample], warm_s: float = 500) -> list[str]:
    return [finding.measure.words for finding in find(found, warm_s) if finding.grows]


@pytest.mark.parametrize(
    ("resident", "expected"),
    [
        pytest.param(lambda at_s: 300.0, [], id="level"),
        pytest.param(lambda at_s: 300 + at_s / 100, ["resident, MiB"], id="36 MiB an hour"),
        pytest.param(lambda at_s: 300 + at_s / 1000, [], id="3.6 MiB an hour: known, and tolerated"),
        pytest.param(lambda at_s: 300 + min(at_s, 400) / 4, [], id="in the warm-up only"),
        pytest.param(lambda at_s: 300 - at_s / 100, [], id="falling"),
    ],
)
def test_what_counts_as_growth(resident: Callable[[float], float], expected: list[str]) -> None:
    """A slope that is no accident and above its tolerance, after the warm-up."""
    assert grown(samples(resident)) == expected


def test_in_a_short_run_a_little_more_is_noise() -> None:
    """2 MiB in three minutes are 36 an hour and say nothing; 8 MiB do."""

    def short(growth_mib: float) -> list[Sample]:
        rows = samples(lambda at_s: 300 + at_s / 2000 * growth_mib)
        return [row._replace(at_s=row.at_s / 10) for row in rows]

    assert grown(short(2), warm_s=20) == []
    assert grown(short(8), warm_s=20) == ["resident, MiB"]


@pytest.mark.parametrize("column", ["files", "threads", "tasks"])
def test_a_leak_of_one_a_minute_is_growth(column: str) -> None:
    """Whatever is not closed, ended or awaited."""
    leaky = [sample._replace(**{column: 30 + int(sample.at_s / 60)}) for sample in samples(lambda at_s: 300.0)]
    assert len(grown(leaky)) == 1


def test_too_few_samples_are_refused_before_the_run() -> None:
    """Not after half an hour."""
    with pytest.raises(SystemExit):
        parse(["--seconds", "60", "--every", "5"])
    assert parse(["--seconds", "60", "--every", "5", "--warm", "1"]).warm == 1


async def test_every_visit_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the real service: none of them is refused for what the visitor does wrong unknowingly."""
    monkeypatch.setattr(visitors_module, "POLL_S", 0.02)
    app = make_app(tmp_path, GatedEngine())
    async with under_uvicorn(app) as port, httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        visitors = Visitors(port, [png(1, 40), png(2, 40)], client)
        ends = {kind: await guests.visit() for kind, guests in visitors.guests.items()}
    assert ends.pop("leaver") == "left"
    assert set(ends.values()) == {ANSWERED}


class Broken(GatedEngine):
    """Computes the worker's own look at it, and nothing else."""

    def predict(self, pixels: Pixels) -> Scores:
        if pixels.any():
            raise RuntimeError("broken")
        return super().predict(pixels)


async def test_what_should_not_be_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that fails is a 500 to who wants a label; who wants none does not feel it."""
    monkeypatch.setattr(visitors_module, "POLL_S", 0.02)
    app = make_app(tmp_path, Broken())
    async with under_uvicorn(app) as port, httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        visitors = Visitors(port, [png(1, 40), png(2, 40)], client)
        await visitors.crowd(0.05)
    assert visitors.ledger["one picture", "500"] >= 4
    assert {end for kind, end in visitors.ledger if kind in ("feedback", "oversized picture")} == {ANSWERED}
    assert failed(visitors) == sum(many for (_, end), many in visitors.ledger.items() if end not in FINE) >= 7
    assert not judge(parse(["--seconds", "2000", "--every", "10"]), visitors, samples(lambda at_s: 300.0))


@warped
async def test_the_rush_is_over_when_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times as many for its time; then those who stay."""
    inside, seen = 0, list[int]()

    async def visit() -> str:
        nonlocal inside
        inside += 1
        seen.append(inside)
        await asyncio.sleep(1)
        inside -= 1
        return ANSWERED

    monkeypatch.setattr(Visitors, "guests", {"one": visitors_module.Guests(2, 0.0, visit)})
    visitors = Visitors(1, [png(1)], httpx2.AsyncClient())
    await visitors.crowd(10, rush_s=3)
    assert max(seen[: 3 * 6]) == 6
    assert max(seen[3 * 6 :]) == 2
    assert visitors.ledger == {("one", ANSWERED): 3 * 6 + 7 * 2}


@pytest.mark.parametrize(("headers", "end"), [({"retry-after": "0"}, "refused"), ({}, "503")])
async def test_a_refusal_must_say_when_to_come_again(headers: dict[str, str], end: str) -> None:
    """Only then it is none of the service's failures."""
    no = httpx2.MockTransport(lambda request: httpx2.Response(503, headers=headers))
    async with httpx2.AsyncClient(base_url="http://localhost", transport=no) as client:
        visitors = Visitors(1, [png(1, 40)], client)
        await visitors.receive("page", visitors.page)
    assert visitors.ledger == {("page", end): 1}


async def test_a_short_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of every kind, and a table, rows and a picture of them."""
    monkeypatch.setattr(visitors_module, "POLL_S", 0.02)
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    pictures.mkdir()
    (pictures / "one.png").write_bytes(png(1, 40))
    told = ["--seconds", "1", "--every", "0.05", "--images", str(pictures)]
    options, seen = parse(told), list[Sample]()
    async with under_uvicorn(make_app(tmp_path / "data", GatedEngine())) as port:
        visitors = await soak(options, port, os.getpid(), seen)
    write(out, seen, warm_s=0.25)
    assert not failed(visitors), visitors.ledger
    assert len(seen) > 5
    assert min(min(sample.tasks, sample.files, sample.threads, sample.resident_mib) for sample in seen) > 0
    assert max(sample.cache for sample in seen) > 0
    assert (out / "soak.csv").read_text().count("\n") == len(seen) + 1
    drawn = (out / "soak.svg").read_text()
    assert all(measure.words in drawn for measure in MEASURES)


async def test_a_look_that_was_held_up_is_not_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several followed it at the same instant: between two of them there is no slope, and what grew was not found."""
    seen, looks, every_s = list[Sample](), count(), 0.03

    def slow_at_first(_port: int) -> dict[str, float]:
        time.sleep(6 * every_s if next(looks) == 1 else 0)
        return defaultdict(float)

    monkeypatch.setattr(module, "metrics", slow_at_first)
    visitors = Visitors(1, [png(1)], httpx2.AsyncClient())
    watching = asyncio.create_task(module.watch(every_s, 1, os.getpid(), visitors, seen))
    await until(lambda: len(seen) == 6)
    watching.cancel()
    assert all(one.at_s + every_s / 2 < other.at_s for one, other in pairwise(seen))


async def test_a_service_that_goes_ends_the_run(tmp_path: Path) -> None:
    """At once, and not after half an hour of broken connections."""
    with free_socket() as nobody:
        port = nobody.getsockname()[1]
    (tmp_path / "one.png").write_bytes(png(1))
    with pytest.raises(Unavailable):
        await soak(parse(["--images", str(tmp_path)]), port, os.getpid(), [])


@pytest.mark.parametrize(("fine", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_tells(fine: bool, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 when anything grows or was lost; what was seen is written. The cache is small: full when it counts."""

    @contextmanager
    def service(arguments: list[str], data: Path) -> Iterator[tuple[int, int]]:
        assert arguments == ["--engine", "openvino", "--model", "demo", "--cache-entries", "256", "--grace-s", "1"]
        yield 17, 8017

    async def run(_options: object, _port: int, _pid: int, seen: list[Sample]) -> None:
        seen.extend(samples(lambda at_s: 300.0))

    monkeypatch.setattr(module, "service", service)
    monkeypatch.setattr(module, "soak", run)
    monkeypatch.setattr(module, "judge", lambda *_: fine)
    told = ["--model", "demo", "--out", str(tmp_path), "--", "--grace-s", "1"]
    monkeypatch.setattr(sys, "argv", ["soak", *told])
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code == code
    assert (tmp_path / "soak.csv").exists()
