"""The search on a fake service: it finds what is best, and always puts the setting back."""

import asyncio

import pytest

from service.errors import BadRequest, Unavailable
from service.tuning.load import Arrival, Closed, Open
from service.tuning.pictures import Distinct
from service.tuning.search import Search, borrowed, sizes_for
from service.tuning.setting import Setting
from service.tuning.target import Target
from service.tuning.verdict import Verdict
from tests.tuning.fake_service import FakeService

FORMER = Setting(8, 5)


def search(target: Target, arrival: Arrival, goal_ms: float = 10_000) -> Search:
    """A hasty one."""
    return Search(
        target, arrival, Distinct([b"picture"]), goal_ms=goal_ms, seconds=0.05, advance=lambda done, total: None
    )


async def found(fake: FakeService, arrival: Arrival, goal_ms: float = 10_000) -> Verdict:
    """What it says about this fake."""
    async with fake.running() as url, borrowed(Target(url)) as former:
        return await search(Target(url), arrival, goal_ms).best(former)


@pytest.mark.parametrize(
    ("arrival", "sizes"),
    [(Closed(1), [1, 2]), (Closed(20), [1, 2, 4, 8, 16]), (Closed(500), [1, 2, 4, 8, 16, 32, 64]),
     (Open(5), [1, 2, 4, 8, 16, 32])],
)  # fmt: skip
def test_sizes(arrival: Arrival, sizes: list[int]) -> None:
    """None that a closed loop could not fill."""
    assert sizes_for(arrival) == sizes


@pytest.mark.slow
async def test_it_finds_the_batch_that_pays() -> None:
    """Where a batch costs the same whatever its size, the largest is best; windows are tried there; all is put back."""
    fake = FakeService(setup_ms=15, setting=Setting(2, 5))
    verdict = await found(fake, Closed(16))
    assert verdict.best
    assert verdict.best.setting.max_batch >= 8  # the clients may come in two groups of eight: then 8 is as good
    assert {cell.setting.max_wait_ms for cell in verdict.cells} == {0, 5, 20}
    assert fake.setting == fake.changes[-1] == Setting(2, 5)


@pytest.mark.slow
async def test_where_batching_does_not_help_windows_are_not_tried() -> None:
    """One takes 10 ms, two take 30: a batch of one is best, and is full at once; there is nothing to wait for."""
    verdict = await found(FakeService(setup_ms=-10, each_ms=20, setting=FORMER), Closed(2))
    assert verdict.chosen.setting.max_batch == 1
    assert {cell.setting.max_wait_ms for cell in verdict.cells} == {5}


@pytest.mark.slow
async def test_the_load_at_which_the_goal_holds() -> None:
    """When none meets it, fewer clients are tried with the fastest setting until it does."""
    fake = FakeService(setup_ms=0, each_ms=10, setting=FORMER)
    async with fake.running() as url, borrowed(Target(url)) as former:
        tried = search(Target(url), Closed(8), goal_ms=45)
        verdict = await tried.best(former)
        holding = await tried.holding(verdict)
    assert verdict.best is None
    assert holding is not None
    assert holding[0].weight < 8
    assert holding[1].p95_ms <= 45


async def test_put_back_when_cancelled() -> None:
    """Ctrl-C cancels the search; the setting comes back before it ends."""
    fake = FakeService()

    async def wait(url: str) -> None:
        async with borrowed(Target(url)) as former:
            await search(Target(url), Closed(2)).best(former)

    async with fake.running() as url:
        task = asyncio.create_task(wait(url))
        while FORMER in {*fake.changes[-1:], fake.setting}:  # noqa: ASYNC110 (another setting is in force)
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert fake.setting == FORMER


async def test_the_calibrations_choice_is_put_back_as_such() -> None:
    """A service that chose for itself chooses for itself again."""
    fake = FakeService(auto=True)
    async with fake.running() as url:
        target = Target(url)
        async with borrowed(target):
            await target.configure(Setting(1, 0.0))
            assert not fake.auto
    assert fake.auto


async def test_the_numbers_are_put_back_when_the_calibration_is_gone() -> None:
    """A 409: the service that chose for itself has nothing to choose any more."""
    fake = FakeService(auto=True, calibrated=False)
    async with fake.running() as url:
        target = Target(url)
        async with borrowed(target):
            await target.configure(Setting(1, 0.0))
    assert fake.setting == fake.changes[-1] == FORMER


async def test_a_setting_that_is_not_taken_back() -> None:
    """The words name it, whatever the reason."""
    fake = FakeService()

    async def refuse(url: str) -> None:
        async with borrowed(Target(url)):
            fake.patch_status = 422

    async with fake.running() as url:
        with pytest.raises(Unavailable, match=r"could not be put back: This is .* It was max_batch 8, max_wait_ms 5"):
            await refuse(url)


async def test_put_back_after_an_error() -> None:
    """The error goes on to the caller."""
    fake = FakeService()

    async def fail(url: str) -> None:
        async with borrowed(Target(url)):
            await Target(url).configure(Setting(1, 0))
            raise RuntimeError("a fault")

    async with fake.running() as url:
        with pytest.raises(RuntimeError, match="a fault"):
            await fail(url)
    assert fake.setting == FORMER


async def test_a_service_that_dies_half_way() -> None:
    """The words name the setting that could not be put back."""
    with pytest.raises(Unavailable, match=r"half-way; its setting could not be put back. It was max_batch 8"):
        await found(FakeService(dies_after=30), Closed(2))


async def test_nothing_to_compare_with() -> None:
    """A reference that answers nothing ends the search, with the statuses that came instead."""
    with pytest.raises(BadRequest, match=r"no picture was answered .*failed: \d+ x 415"):
        await found(FakeService(status=415), Closed(2))
