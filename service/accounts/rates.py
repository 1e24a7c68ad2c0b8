"""Rate limits: how often somebody may do something, in a sliding window. Kept in memory, per process.

The windows are those of the wall clock. When it jumps, what was counted is forgotten; nobody is locked out longer.
"""

import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address
from itertools import islice

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from service.errors import TooManyRequests, Unauthorized

_IPV6_NETWORK = 64
"""What one customer gets (RFC 6177): each of its 2^64 addresses may be the same caller."""
_CLOCK_S = 0.001
"""More than what is lost when seconds since 1970 are divided by a window."""
_MAX_KEYS = 50_000
"""Some 20 MB. Who can use more addresses than this in one window is not held up by a limit per address."""


class Counters(MemoryStorage):
    """limits' own looks through all its keys at each hit. They expire in the order in which they came: this one looks
    at the oldest, and never keeps more than it may."""

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        self.storage[key] = count = await self.get(key) + amount
        now = time.time()
        self.expirations.setdefault(key, now + expiry)
        for oldest in list(islice(self.expirations, 2)):  # one comes, up to two go
            if self.expirations[oldest] <= now or len(self.expirations) > _MAX_KEYS:
                await self.clear(oldest)
        return count


class Rate:
    """`Rate("10/minute", "wrong passwords")`, or `Rate("off", …)`, which lets everything pass."""

    def __init__(self, text: str, what: str) -> None:
        self._text, self._what = text.replace("/", " per "), what
        self._item = None if text == "off" else parse(text)
        self._counters = Counters()
        self._limiter = SlidingWindowCounterRateLimiter(self._counters)
        self._open: Counter[tuple[str, ...]] = Counter()

    async def take(self, *key: str) -> None:
        """Count one. Raises TooManyRequests, and counts nothing, when the limit is reached."""
        if self._item is not None and not await self._limiter.hit(self._item, *key):
            await self._refuse(*key)

    @asynccontextmanager
    async def guess(self, *key: str) -> AsyncIterator[None]:
        """Round a guess: it counts when it was wrong, which is when the block raises Unauthorized, and until then too.

        Raises TooManyRequests in the place of the block.
        """
        if self._item is None:
            yield
            return
        self._open[key] += 1
        try:
            if not await self._limiter.test(self._item, *key, cost=self._open[key]):
                await self._refuse(*key)
            yield
        except Unauthorized:
            await self._limiter.hit(self._item, *key)
            raise
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]

    async def _refuse(self, *key: str) -> None:
        assert self._item is not None
        wait_s = await self._wait_s(self._item, *key)
        raise TooManyRequests(
            f"The limit of {self._what} is {self._text}. Try again in {wait_s} s.", retry_after_s=wait_s
        )

    async def _wait_s(self, item: RateLimitItem, *key: str) -> int:
        """Until one more passes. What the window before counted fades over the present one, and this one's after it."""
        window_s, most = item.get_expiry(), item.amount
        before, _, count, kept_s = await self._counters.get_sliding_window(item.key_for(*key), window_s)
        wait_s = kept_s - window_s  # until the present window ends
        if count < most:
            wait_s -= (most - count) * window_s / before if before else wait_s
        return max(1, math.floor(wait_s + _CLOCK_S) + 1)


def caller(address: str | None) -> str:
    """What stands for a client's address in a limit: an IPv6 network, an IPv4 address."""
    try:
        ip = ip_address(address or "")
    except ValueError:
        return "unknown"
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(IPv6Address(int(ip) >> (128 - _IPV6_NETWORK) << (128 - _IPV6_NETWORK)))
