"""Rate limits: so many in a window, honest about when to come again, bounded, at ease with a clock that jumps."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.accounts import rates
from service.accounts.rates import Counters, Rate, caller
from service.errors import TooManyRequests, Unauthorized, Unavailable


class Wall:
    """The wall clock, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1_800_000_000.0
        monkeypatch.setattr(time, "time", lambda: self.now_s)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(monkeypatch)


async def passes(rate: Rate, *key: str) -> bool:
    """Whether one more does."""
    try:
        await rate.take(*key)
    except TooManyRequests:
        return False
    return True


async def guess_wrong(rate: Rate, *key: str) -> None:
    """Somebody guesses wrong."""
    with pytest.raises(Unauthorized):
        async with rate.guess(*key):
            raise Unauthorized()


async def test_so_many_and_no_more(wall: Wall) -> None:
    """The next one is refused in words that name the limit, what is limited and when to come again; others pass."""
    rate = Rate("3/minute", "requests of one account")
    assert [await passes(rate, "ada") for _ in range(4)] == [True, True, True, False]
    with pytest.raises(TooManyRequests, match=r"requests of one account is 3 per minute\. Try again in \d+ s") as no:
        await rate.take("ada")
    assert 1 <= no.value.retry_after_s <= 61
    assert await passes(rate, "bob")


async def test_off_is_no_limit() -> None:
    """Neither for what counts nor for guesses."""
    rate = Rate("off", "x")
    assert all([await passes(rate, "ada") for _ in range(1000)])
    for _ in range(100):
        await guess_wrong(rate, "ada")


@given(st.integers(1, 20), st.floats(0, 59.9), st.floats(0, 59.9), st.integers(0, 25))
def test_retry_after_is_honest(limit: int, offset: float, gap: float, first: int) -> None:
    """Whenever the limit is met, one passes when as many seconds have gone by as were said."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Wall(patch)
        clock.now_s += offset
        rate = Rate(f"{limit}/minute", "x")

        async def meet() -> None:
            for _ in range(first):
                await passes(rate, "ada")
            clock.now_s += gap
            while await passes(rate, "ada"):
                pass
            with pytest.raises(TooManyRequests) as no:
                await rate.take("ada")
            clock.now_s += no.value.retry_after_s
            assert await passes(rate, "ada")

        _run(meet())


def _run(coroutine: object) -> None:
    """To its end, which comes without a wait: counting is not really asynchronous."""
    with pytest.raises(StopIteration):
        coroutine.send(None)  # type: ignore[attr-defined]


async def test_only_wrong_guesses_count() -> None:
    """Neither right ones nor those that could not be judged."""
    rate = Rate("2/minute", "x")
    for _ in range(5):
        async with rate.guess("ada"):
            pass
        with pytest.raises(Unavailable):
            async with rate.guess("ada"):
                raise Unavailable()
    await guess_wrong(rate, "ada")
    await guess_wrong(rate, "ada")
    with pytest.raises(TooManyRequests):
        async with rate.guess("ada"):
            pytest.fail("a guess too many")


async def test_a_guess_counts_until_it_is_known_to_be_right() -> None:
    """Many at once are no way round the limit; when they were right, there is room again."""
    rate = Rate("2/minute", "x")
    async with rate.guess("ada"), rate.guess("ada"):
        with pytest.raises(TooManyRequests):
            async with rate.guess("ada"):
                pytest.fail("a guess too many")
    async with rate.guess("ada"):
        await guess_wrong(rate, "ada")


@pytest.mark.parametrize("jump_s", [-86_400, -3600, -61, 61, 3600, 86_400])
async def test_a_jump_of_the_clock_locks_nobody_out(wall: Wall, jump_s: int) -> None:
    """What was counted is forgotten rather than kept: within one window of the jump, one passes."""
    rate = Rate("3/minute", "x")
    while await passes(rate, "ada"):
        pass
    wall.now_s += jump_s
    if not await passes(rate, "ada"):
        wall.now_s += 60
        assert await passes(rate, "ada")
    while await passes(rate, "ada"):
        pass
    assert not await passes(rate, "ada")


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many addresses come within one window; the oldest are forgotten."""
    monkeypatch.setattr(rates, "_MAX_KEYS", 100)
    counters = Counters()
    for n in range(1000):
        await counters.incr(f"address {n}", 60)
    assert counters.storage.keys() == counters.expirations.keys() == {f"address {n}" for n in range(900, 1000)}
    assert not counters.locks
    assert not counters.events
    assert counters.timer is None


async def test_what_has_expired_goes(wall: Wall) -> None:
    """Two for each that comes, so that nothing old is left after a while."""
    counters = Counters()
    for n in range(100):
        await counters.incr(f"old {n}", 60)
    wall.now_s += 61
    for n in range(50):
        await counters.incr(f"new {n}", 60)
    assert counters.storage.keys() == {f"new {n}" for n in range(50)}


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("testclient", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_who_counts_as_one(address: str | None, counted_as: str) -> None:
    """One IPv4 address, written either way; the 2^64 IPv6 addresses of one customer; whoever has none."""
    assert caller(address) == counted_as
