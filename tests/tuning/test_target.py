"""What the service under load says, and what is made of its refusals."""

from pathlib import Path

import pytest

from service.credentials import bearer
from service.data_folder import claimed
from service.errors import BadRequest, Forbidden, GlimtError, InvalidField, NotReady, Unavailable
from service.tuning.setting import Setting
from service.tuning.target import Batches, Target
from tests.tuning.fake_service import FakeService
from tests.world import PASSWORD, make_app, under_uvicorn

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
        (FakeService(patch_status=401), Forbidden, "wants to know who asks. .*/account.*GLIMT_TOKEN.*--data-dir"),
        (
            FakeService(patch_status=403),
            Forbidden,
            "let this caller do that. This is for admins. .*/account.*GLIMT_TOKEN",
        ),
        (FakeService(patch_status=422), InvalidField, "This is for admins."),
        (FakeService(patch_status=404), BadRequest, "is not Glimt"),
    ],
    ids=["not ready", "401", "403", "422", "404"],
)
async def test_refusals_in_words(fake: FakeService, error: type[GlimtError], words: str) -> None:
    """Each with its own error, and what the service said."""
    async with fake.running() as url:
        with pytest.raises(error, match=words):
            await _both(Target(url))


@pytest.mark.parametrize("auth", ["open", "required"])
async def test_a_real_service_lets_only_an_admin_change_it(tmp_path: Path, auth: str) -> None:
    """Nobody in particular is told the ways in; the folder's own key and an admin's token are let in."""
    app = make_app(tmp_path, auth=auth)
    async with under_uvicorn(app) as port:
        url = f"http://127.0.0.1:{port}"
        accounts = app.house.accounts
        admin = await accounts.create(name="Ada", email="ada@example.org", password=PASSWORD, role="admin")
        token, _ = await accounts.create_token(admin, "tune")
        with claimed(tmp_path) as claim:
            claim.announce(url)
            by_key = bearer(url, tmp_path, None)
            for size, allowed in enumerate((by_key, bearer(url, tmp_path, token)), 3):
                await Target(url, allowed).configure(Setting(size, 1))
                assert await Target(url, allowed).setting() == Setting(size, 1)
        with pytest.raises(Forbidden, match="wants to know who asks"):
            await Target(url).configure(Setting(1, 1))
        user = await accounts.create(name="Eve", email="eve@example.org", password=PASSWORD)
        with pytest.raises(Forbidden, match=r"This is for admins. .*/account"):
            await Target(url, lambda: accounts.token_for(user)).configure(Setting(1, 1))
        assert await Target(url, lambda: accounts.token_for(admin)).setting() == Setting(4, 1)


async def _both(target: Target) -> None:
    await target.check_ready()
    await target.configure(Setting(1, 0))


async def test_nobody_there() -> None:
    """In words, with what to do."""
    with pytest.raises(Unavailable, match="`glimt serve`"):
        await Target("http://127.0.0.1:9").check_ready()
