"""The service under load, by the few addresses that matter here: ready? its batching, its batches so far."""

import re
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Self

import orjson

from service.credentials import Bearer, refused
from service.errors import BadRequest, InvalidField, NotReady, Unavailable
from service.tuning.connection import Address, Answer, Connection
from service.tuning.setting import Setting

_RELEASED = re.compile(r'^glimt_batches_released_total\{reason="(\w+)"\} (\S+)$', re.MULTILINE)
_AT_MOST = re.compile(r'^glimt_batch_size_bucket\{le="(\S+)"\} (\S+)$', re.MULTILINE)
_PICTURES = re.compile(r"^glimt_batch_size_sum (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Batches:
    """Batches that left: the pictures in them, how many for which reason, and how many of at most each size (the
    bounds of the service's own histogram, rising, each counting those below it too)."""

    pictures: int = 0
    released: tuple[tuple[str, int], ...] = ()
    at_most: tuple[tuple[float, int], ...] = ()

    @classmethod
    def read(cls, metrics: str) -> Self:
        """From the text of /metrics; nothing where it has none."""
        found = _PICTURES.search(metrics)
        return cls(
            round(float(found[1])) if found else 0,
            tuple((reason, round(float(count))) for reason, count in _RELEASED.findall(metrics)),
            tuple((float(bound), round(float(count))) for bound, count in _AT_MOST.findall(metrics)),
        )

    def since(self, before: "Batches") -> "Batches":
        """What came after `before`."""
        reasons, bounds = dict(before.released), dict(before.at_most)
        released = ((reason, count - reasons.get(reason, 0)) for reason, count in self.released)
        return Batches(
            self.pictures - before.pictures,
            tuple((reason, count) for reason, count in released if count),
            tuple((bound, count - bounds.get(bound, 0)) for bound, count in self.at_most),
        )

    @property
    def count(self) -> int:
        """How many batches."""
        return sum(count for _, count in self.released)

    @property
    def sizes(self) -> dict[tuple[float, float], int]:
        """Batches by size, from (more than this, at most that); those that occurred."""
        below = [(0.0, 0), *self.at_most]
        pairs = zip(below, self.at_most, strict=False)
        return {(low, high): count - lower for (low, lower), (high, count) in pairs if count > lower}


class Target:
    """A running service. Each question has a connection of its own: they are seconds apart, and one kept open would
    be closed by the service just when it is used."""

    def __init__(self, url: str, bearer: Bearer = lambda: "") -> None:
        self.address = Address.of(url)
        self._bearer = bearer
        self._auto = False

    def connect(self) -> Connection:
        """A connection of its own, for whoever asks often."""
        return Connection(self.address, self._bearer)

    async def check_ready(self) -> None:
        """Raises NotReady, or Unavailable when nothing answers, or BadRequest when it is not Glimt."""
        answer = await self._ask("GET", "/readyz")
        if answer.status == 503:
            state = answer.body.decode(errors="replace").strip()
            raise NotReady(f"The service at {self.address.url} says: {state}. Try again when GET /readyz answers 200.")
        if answer.status != 200:
            raise self._foreign(answer)

    async def setting(self) -> Setting:
        """What is in force; `restore` brings it back."""
        answer = await self._ask("GET", "/api/batching")
        self._auto = _json(answer.body).get("auto") is True
        return self._read(answer)

    async def restore(self, setting: Setting) -> None:
        """Put back what `setting` said: the calibration's choice if that was in force and can be had again, else the
        numbers. Raises as `configure` does."""
        if self._auto:
            answer = await self._ask("PATCH", "/api/batching", b'{"auto":true}', "application/json")
            if answer.status == 200:
                return
        await self.configure(setting)

    async def configure(self, setting: Setting) -> None:
        """Put a setting in force. Raises Forbidden and InvalidField as well."""
        change = orjson.dumps({"max_batch": setting.max_batch, "max_wait_ms": setting.max_wait_ms})
        self._read(await self._ask("PATCH", "/api/batching", change, "application/json"))

    async def batches(self) -> Batches:
        """All since the service started."""
        return Batches.read((await self._ask("GET", "/metrics")).body.decode(errors="replace"))

    async def _ask(self, method: str, path: str, body: bytes = b"", kind: str = "text/plain") -> Answer:
        try:
            with closing(self.connect()) as connection:
                return await connection.ask(method, path, body, kind)
        except OSError as error:
            raise Unavailable(
                f"The service at {self.address.url} stopped answering: {error or type(error).__name__}."
            ) from error

    def _read(self, answer: Answer) -> Setting:
        document = _json(answer.body)
        if answer.status in (401, 403):
            raise refused(self.address.url, answer.status, str(document.get("detail", "")))
        if answer.status == 422:
            raise InvalidField(str(document.get("detail", "")))
        if answer.status != 200 or not {"max_batch", "max_wait_ms"} <= document.keys():
            raise self._foreign(answer)
        return Setting(int(document["max_batch"]), float(document["max_wait_ms"]))

    def _foreign(self, answer: Answer) -> BadRequest:
        return BadRequest(
            f"What answers at {self.address.url} ({answer.status}) is not Glimt, or one without /api/batching."
        )


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
