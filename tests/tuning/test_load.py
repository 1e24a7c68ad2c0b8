"""The accounting of both loops, against a fake service whose speed is known. Nothing here judges the clock."""

import asyncio
import math
from itertools import pairwise

import pytest

from service.errors import Unavailable
from service.tuning import load as module
from service.tuning.load import Arrival, Closed, Load, Open, Tally, arrivals, percentile_ms
from service.tuning.pictures import Distinct
from service.tuning.setting import Setting
from service.tuning.target import Batches, Target
from tests.tuning.fake_service import FakeService


async def measured(fake: FakeService, arrival: Arrival, seconds: float = 0.1) -> Load:
    """One stretch of this load on the fake."""
    async with fake.running() as url, arrival.on(Target(url), Distinct([b"picture"])) as loop:
        return await loop.measure(seconds)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.95, 95.0), (0.99, 99.0)])
def test_percentiles_are_nearest_rank(share: float, expected: float) -> None:
    """Values that occurred; infinite when there are none."""
    assert percentile_ms([n / 1000 for n in range(1, 101)], share) == pytest.approx(expected)
    assert percentile_ms([], share) == math.inf


def test_tally_keeps_the_lost_out_of_the_latencies() -> None:
    """Refused, failed and broken are counted by themselves."""
    tally = Tally()
    for status, latency_s in [(200, 0.1), (503, 0.001), (429, 0.001), (500, 0.001), (0, 60)]:
        tally.note(status, latency_s)
    load = tally.load(1.0, Batches())
    assert (load.answered, load.p99_ms, load.refused, load.failures, load.lost_share) == (
        1,
        100,
        2,
        {500: 1, 0: 1},
        0.8,
    )


def test_arrivals_are_poisson_and_always_the_same() -> None:
    """As many as the rate says within four deviations, exponential gaps, and no difference between two calls."""
    instants = list(arrivals(50, 100))
    gaps = [b - a for a, b in pairwise(instants)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert instants == list(arrivals(50, 100)) == sorted(instants)
    assert abs(len(instants) - 5000) < 4 * math.sqrt(5000)
    assert deviation == pytest.approx(mean, rel=0.1)
    assert 0 < instants[0] < instants[-1] < 100


async def test_closed_loop_counts() -> None:
    """Answers, batches and sizes of the stretch; full batches, since there are twice as many clients as places."""
    load = await measured(FakeService(setup_ms=5), Closed(16))
    assert load.answered > 0
    assert (load.refused, load.failed, load.late) == (0, 0, 0)
    assert load.p50_ms <= load.p95_ms <= load.p99_ms < math.inf
    assert load.per_s > 0
    assert load.batches.pictures == sum(round(high) * n for (_, high), n in load.batches.sizes.items())
    assert dict(load.batches.released).keys() == {"full"}


async def test_closed_loop_rate_is_littles_law() -> None:
    """clients = rate x mean latency, whatever the number of batches that happened to end in the stretch."""
    load = await measured(FakeService(setup_ms=20), Closed(8), seconds=0.3)
    assert load.per_s * load.p50_ms / 1000 == pytest.approx(8, rel=0.3)


async def test_every_client_meets_only_the_new_setting() -> None:
    """A stretch begins when each has heard once: nothing that was asked before it is in its latencies."""
    fake = FakeService(setup_ms=300)
    async with fake.running() as url, Closed(2).on(Target(url), Distinct([b"picture"])) as loop:
        while len(fake.bodies) < 2:  # noqa: ASYNC110 (both wait for the slow answer)
            await asyncio.sleep(0.005)
        fake.setup_ms = 1
        load = await loop.measure(0.1)
    assert load.p99_ms < 300


async def test_a_stretch_shorter_than_the_latency_is_prolonged() -> None:
    """Until every client has heard: a slow setting is measured as slow, not as answering nothing."""
    load = await measured(FakeService(setup_ms=100), Closed(3), seconds=0.001)
    assert load.answered >= 3


@pytest.mark.parametrize("arrival", [Closed(2), Open(100)])
async def test_refusals_are_counted(arrival: Arrival, monkeypatch: pytest.MonkeyPatch) -> None:
    """As refused, with no latency and no pictures/s."""
    monkeypatch.setattr(module, "RAMP_S", 0.0)
    load = await measured(FakeService(status=503), arrival)
    assert (load.answered, load.per_s, load.p95_ms, load.failed) == (0, 0, math.inf, 0)
    assert load.refused > 0


async def test_open_loop_answers_all_that_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each arrival after the ramp is in the latencies, also those answered after the stretch; the ramp's are not."""
    monkeypatch.setattr(module, "RAMP_S", 0.2)
    fake = FakeService(setup_ms=50)
    load = await measured(fake, Open(100), seconds=0.5)
    instants = list(arrivals(100, 0.7))
    assert len(fake.bodies) == len(instants)
    assert load.answered == sum(instant >= 0.2 for instant in instants)


async def test_a_service_that_stalls_cannot_hide_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No coordinated omission: with one request outstanding at most, those kept back count from when they were due."""
    monkeypatch.setattr(module, "RAMP_S", 0.0)
    monkeypatch.setattr(module, "OUTSTANDING", 1)
    load = await measured(FakeService(setup_ms=50), Open(200), seconds=0.1)
    assert load.late > 0
    assert load.p99_ms > 50 * (load.answered - 1) - 100  # the last one waited for all the others


async def test_a_service_that_falls_behind_shows_in_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures/s counts what was answered while the stretch lasted, not what its arrivals got in the end."""
    monkeypatch.setattr(module, "RAMP_S", 0.0)
    load = await measured(FakeService(setup_ms=50, setting=Setting(1, 0)), Open(100), seconds=0.2)
    assert load.answered > 4
    assert load.per_s <= 4 / 0.2


@pytest.mark.parametrize("arrival", [Closed(4), Open(100)])
async def test_a_service_that_goes_ends_the_load(arrival: Arrival) -> None:
    """With the words of who cannot connect, not with an endless run of failures."""
    with pytest.raises(Unavailable, match=r"can be reached|stopped answering"):
        await measured(FakeService(dies_after=10), arrival, seconds=30)
