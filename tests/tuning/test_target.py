"""What the service under load says, and what is made of its refusals."""

import pytest

from service.errors import BadRequest, Forbidden, GlimtError, InvalidField, NotReady, Unavailable
from service.tuning.setting import Setting
from service.tuning.target import Batches, Target
from tests.tuning.fake_service import FakeService

METRICS = """\
# TYPE glimt_batch_size histogram
glimt_batch_size_bucket{le="1.0"} 3.0
glimt_batch_size_bucket{le="2.0"} 3.0
glimt_batch_size_bucket{le="4.0"} 5.0
glimt_batch_size_bucket{le="+Inf"} 6.0
glimt_batch_size_sum 40.0
glimt_batches_released_total{reason="idle"} 3.0
glimt_batches_released_total{reason="full"} 3.0
glimt_batches_released_created{reason="full"} 1.7e+09
"""


def test_batches_are_read_from_the_metrics() -> None:
    """Pictures, reasons, and sizes that occurred; nothing where there is nothing."""
    batches = Batches.read(METRICS)
    assert (batches.pictures, batches.count, dict(batches.released)) == (40, 6, {"idle": 3, "full": 3})
    assert batches.sizes == {(0, 1): 3, (2, 4): 2, (4, float("inf")): 1}
    assert Batches.read("something else").sizes == {}


def test_batches_since() -> None:
    """Only what came after, also when there was nothing before."""
    after = Batches.read(METRICS.replace("3.0", "5.0").replace("40.0", "42.0"))
    assert after.since(Batches.read(METRICS)).pictures == 2
    assert dict(after.since(Batches()).released) == {"idle": 5, "full": 5}


async def test_a_setting_is_read_and_put_in_force() -> None:
    """Through GET and PATCH."""
    fake = FakeService()
    async with fake.running() as url:
        await Target(url).check_ready()
        assert await Target(url).setting() == Setting(8, 5)
        await Target(url).configure(Setting(4, 0.5))
    assert fake.setting == Setting(4, 0.5)


@pytest.mark.parametrize(
    ("fake", "error", "words"),
    [
        (FakeService(ready=False), NotReady, "says: loading"),
        (FakeService(patch_status=403), Forbidden, "does not let this caller change it. Only on its own machine."),
        (FakeService(patch_status=422), InvalidField, "Only on its own machine."),
        (FakeService(patch_status=404), BadRequest, "is not Glimt"),
    ],
    ids=["not ready", "403", "422", "404"],
)
async def test_refusals_in_words(fake: FakeService, error: type[GlimtError], words: str) -> None:
    """Each with its own error, and what the service said."""
    async with fake.running() as url:
        with pytest.raises(error, match=words):
            await _both(Target(url))


async def _both(target: Target) -> None:
    await target.check_ready()
    await target.configure(Setting(1, 0))


async def test_nobody_there() -> None:
    """In words, with what to do."""
    with pytest.raises(Unavailable, match="`glimt serve`"):
        await Target("http://127.0.0.1:9").check_ready()
