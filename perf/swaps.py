"""Swap models under load, and hold every answer against the version that it names.

    .venv/bin/python -m perf.swaps --model NAME:VERSION --other NAME:VERSION --data-dir DIR [--swaps 50] [--clients 16]
        [--images DIR] [-- further options for glimt serve]

Starts `glimt serve` with the first version, cache off, and asks both versions once what they say about 32 pictures.
Then closed-loop clients send those pictures while the two are activated in turns. Printed: answers, failures of any
kind (there must be none), answers that are not what the version they name says, answers by each version, how long a
swap took, and the clients' latencies while swapping and before. Exit code 1 for a failure or a wrong answer.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import orjson

from perf.serving import command_line, named, serving
from service.credentials import bearer
from service.tuning.connection import Address, Connection
from service.tuning.pictures import photos

PICTURES = 32
TOLERANCE = 1e-4
"""Between two answers of one version: a batch of another size may round otherwise."""
CALM_SECONDS = 5.0

Scores = dict[str, float]


@dataclass
class Ledger:
    """What came. `milliseconds` are of the answers; `wrong` names what was."""

    versions: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Clients:
    """Each asks again when it is answered, until told to stop."""

    def __init__(self, address: Address, pictures: list[bytes], known: dict[str, list[Scores]]) -> None:
        self._address, self._pictures, self._known = address, pictures, known
        self.ledger = Ledger()

    async def run(self, count: int, until: asyncio.Event) -> None:
        """So many of them."""
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(self._client(number, until))

    async def _client(self, number: int, until: asyncio.Event) -> None:
        connection, places = Connection(self._address), cycle(range(PICTURES))
        for place in islice(places, number, None):
            if until.is_set():
                break
            started = time.perf_counter()
            try:
                answer = await connection.ask("POST", "/predict?top=3", self._pictures[place])
            except OSError as error:
                self.ledger.failures[type(error).__name__] += 1
                continue
            self._note(place, answer.status, answer.body, (time.perf_counter() - started) * 1000)
        connection.close()

    def _note(self, place: int, status: int, body: bytes, ms: float) -> None:
        if status != 200:
            self.ledger.failures[str(status)] += 1
            return
        said = orjson.loads(body)
        version = version_of(said)
        self.ledger.versions[version] += 1
        self.ledger.milliseconds.append(ms)
        expected = self._known.get(version, [{}] * PICTURES)[place]
        if not agrees(scores_of(said), expected):
            self.ledger.wrong.append(f"picture {place} by {version}: {scores_of(said)}, not {expected}")


def scores_of(said: dict[str, Any]) -> Scores:
    """Label -> probability."""
    return {one["label"]: one["score"] for one in said["predictions"]}


def version_of(said: dict[str, Any]) -> str:
    """NAME:VERSION of the model that answered."""
    return f"{said['model']['name']}:{said['model']['version']}"


def agrees(one: Scores, other: Scores) -> bool:
    """The same labels, but for the last place, where two may be alike; their probabilities within TOLERANCE."""
    shared = one.keys() & other.keys()
    return (
        len(one) == len(other) > 0
        and len(shared) >= len(one) - 1
        and all(abs(one[label] - other[label]) <= TOLERANCE for label in shared)
    )


async def measure(options: argparse.Namespace, port: int) -> bool:
    """Print what was found; whether all was well."""
    address = Address.of(f"http://127.0.0.1:{port}")
    admin = Connection(address, bearer(address.url, options.data_dir, None))
    pictures = list(islice(cycle(photos(options.images)), PICTURES))
    refs = [options.other, options.model]
    known = {}
    for ref in refs:
        await activate(admin, ref)
        asked = [orjson.loads((await admin.ask("POST", "/predict?top=3", one)).body) for one in pictures]
        known[version_of(asked[0])] = [scores_of(one) for one in asked]
    calm = await load(address, pictures, known, options.clients, asyncio.sleep(CALM_SECONDS))
    took: list[float] = []

    async def swap() -> None:
        for ref in islice(cycle(refs), options.swaps):
            started = time.perf_counter()
            await activate(admin, ref)
            took.append(time.perf_counter() - started)

    busy = await load(address, pictures, known, options.clients, swap())
    admin.close()
    show("before", calm)
    show("while swapping", busy)
    print(f"{len(took)} swaps, median {statistics.median(took):.2f} s, longest {max(took):.2f} s")
    return not (calm.failures or calm.wrong or busy.failures or busy.wrong)


async def load(
    address: Address, pictures: list[bytes], known: dict[str, list[Scores]], count: int, until: Any
) -> Ledger:
    """The clients, for as long as `until` takes."""
    clients, over = Clients(address, pictures, known), asyncio.Event()
    running = asyncio.create_task(clients.run(count, over))
    await until
    over.set()
    await running
    return clients.ledger


async def activate(admin: Connection, ref: str) -> None:
    """Ends the program unless it is served then."""
    answer = await admin.ask("POST", f"/api/models/{ref}/activate?override=true")
    if answer.status != 200 and b"is served already" not in answer.body:
        raise SystemExit(f"{ref}: {answer.status} {answer.body.decode()[:300]}")


def show(when: str, ledger: Ledger) -> None:
    """One line, and the first few of what was wrong."""
    times = sorted(ledger.milliseconds) or [0.0]
    by = ", ".join(f"{count} by {version}" for version, count in sorted(ledger.versions.items()))
    print(
        f"{when:<15} {len(ledger.milliseconds)} answers ({by}), failures {dict(ledger.failures) or 'none'}, "
        f"{len(ledger.wrong)} not as their version says; p50 {statistics.median(times):.0f} ms, "
        f"p95 {times[int(len(times) * 0.95)]:.0f} ms, longest {times[-1]:.0f} ms"
    )
    for line in ledger.wrong[:5]:
        print("  " + line)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--other", required=True, help="the other version, NAME:VERSION")
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--clients", type=int, default=16)
    return parser.parse_args(arguments)


def main() -> None:
    """Measure and print."""
    options = parse()
    options.data_dir = options.data_dir or Path(tempfile.mkdtemp())
    print(f"pictures: {named(options.images)}", flush=True)
    with serving({"model": options.model}, options.data_dir, options.serve) as (_, port):
        raise SystemExit(0 if asyncio.run(measure(options, port)) else 1)


if __name__ == "__main__":
    main()
