"""perf/compare.py: what it makes of its measurements, and how it ends what it started."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from perf import compare
from perf.clients import (
    ANSWERED,
    BROKEN,
    GAVE_UP,
    Answer,
    Asked,
    Connection,
    Manner,
    answered,
    client,
    failures,
    latencies,
    per_second,
    steady,
)
from perf.comparison import Loop, Measured, Storm, agree, best_peer, judge, rate, table, to_reference, to_server
from perf.contenders import Contender, NotRunning, chosen, contenders, family, running
from service.tuning.pictures import Distinct


def measured(server: str, round_number: int, per_s: float, *, peer: bool = True, reference: float = 20) -> Measured:
    """One server in one round with 32 clients."""
    loops = {32: Loop(32, per_s, latencies([0.1, 0.2]), {})}
    return Measured(server, round_number, peer, reference=reference, loops=loops)


DRIFTING = [  # the machine is half as fast in the second round
    measured("glimt", 1, 40, peer=False),
    measured("litserve", 1, 20),
    measured("mosec", 1, 16),
    measured("glimt", 2, 20, peer=False, reference=10),
    measured("litserve", 2, 10, reference=10),
    measured("mosec", 2, 8, reference=10),
]


def test_only_answers_in_the_window_count() -> None:
    """Not what was answered while warming, nor after the end, nor a refusal."""
    asked = [Asked(1, 0.1, ANSWERED), Asked(2, 0.2, ANSWERED), Asked(2, 0.3, "503"), Asked(9, 0.4, ANSWERED)]
    assert answered(asked, 2, 8) == [0.2]


def test_failures_are_counted_by_how_they_ended() -> None:
    """A refusal is not a hang-up."""
    asked = [Asked(1, 0.1, ANSWERED), Asked(2, 2, GAVE_UP), Asked(2, 0.1, "503"), Asked(3, 0.1, "503")]
    assert failures(asked) == {GAVE_UP: 1, "503": 2}


def test_the_window_begins_when_every_client_has_heard() -> None:
    """But one that hears nothing leaves half of it; what failed outside does not count either."""
    firsts = [Asked(1, 1, ANSWERED, first=True), Asked(5, 5, ANSWERED, first=True)]
    later = [Asked(4, 1, "503"), Asked(6, 1, ANSWERED), Asked(11, 1, "503")]
    assert steady([*firsts, *later], 2, 10) == [firsts[1], later[1]]
    stuck = Asked(99, 99, ANSWERED, first=True)
    assert steady([stuck, *later], 2, 10) == [later[1]]


def test_a_batch_at_the_edge_of_the_window_changes_no_rate() -> None:
    """Eight clients in batches of eight, one a second: eight a second, whichever part of a second the window cuts."""
    asked = [Asked(batch, 1, ANSWERED) for batch in range(1, 20) for _ in range(8)]
    for begin in (2, 2.5):
        assert per_second(steady(asked, begin, begin + 4.2), 8) == 8


def test_a_refused_clients_rest_is_time_too() -> None:
    """Two clients, one answered within a second, one refused at once and resting: one answer a second, not two."""
    asked = [Asked(1, 1, ANSWERED), Asked(1, 0.01, "503", idle=0.99), Asked(2, 1, ANSWERED), Asked(2, 0, "503", idle=1)]
    assert per_second(asked, 2) == 1
    assert per_second([], 2) == 0


def test_latencies_are_milliseconds() -> None:
    """Of one to a hundred milliseconds the median lies in the middle; of one answer there is none."""
    found = latencies([number / 1000 for number in range(1, 102)])
    assert found == (51, 96, 100)
    assert latencies([0.1]) is None


def test_the_best_peer_is_not_glimt() -> None:
    """However fast Glimt is."""
    assert best_peer(DRIFTING, 32) == "litserve"
    assert best_peer([measured("glimt", 1, 40, peer=False)], 32) is None


def test_ratios_are_taken_within_a_round() -> None:
    """So that a machine that slows down between two rounds changes none."""
    glimt = [one for one in DRIFTING if one.server == "glimt"]
    assert rate(glimt, 32) == 30
    assert to_reference(glimt, 32) == 2
    assert to_server(DRIFTING, "glimt", "litserve", 32) == 2


def test_a_round_that_the_other_missed_gives_no_ratio() -> None:
    """A server that did not start in one round is compared in the others only."""
    done = [*DRIFTING, measured("glimt", 3, 500, peer=False)]
    assert to_server(done, "glimt", "litserve", 32) == 2
    assert to_server(done, "glimt", None, 32) is None


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({1: 0.9, 2: 0.05}, True),
        ({1: 0.9009, 3: 0.05}, True),
        ({1: 0.902, 2: 0.05}, False),
        ({2: 0.9, 1: 0.05}, False),
        ({}, False),
    ],
)
def test_answers_agree(other: dict[int, float], same: bool) -> None:
    """The same best class, and the same probability within 1e-3 wherever both name a class."""
    assert agree({1: 0.9, 2: 0.05}, other) is same


def test_the_table_has_the_fastest_first() -> None:
    """With its ratios, and the reference's name in the head."""
    head, _, *rows = table(DRIFTING).splitlines()
    assert "x litserve" in head
    assert [row.split(" | ")[0] for row in rows] == ["| glimt", "| litserve", "| mosec"]
    assert rows[0].startswith("| glimt | 30.0 | 2.00 | 2.00 | 150 / 195 / 199 | 0 |")


def test_a_server_that_did_not_start_is_a_row() -> None:
    """It says why, and its bar does not break the table."""
    absent = Measured("bentoml", 1, True, note="not running: ended: a | b")
    head, _, *rows = table([*DRIFTING, absent]).splitlines()
    assert rows[-1].count(" | ") == head.count(" | ")
    assert rows[-1].endswith("| not running: ended: a / b |")


def test_a_table_of_nothing_but_failures() -> None:
    """Even then there is a table."""
    assert "| mosec |" in table([Measured("mosec", 1, True, note="not running: uv")])


def test_the_storms_worst_is_not_hidden_by_a_missing_answer() -> None:
    """A storm after which nobody was answered shows no time, not zero."""
    one = measured("mosec", 1, 16)
    one.storm = Storm(1.5, 0.045, None, {GAVE_UP: 900})
    assert "| 1.5 | 4.5% | - |" in table([one])


def test_a_storm_is_judged_by_all_that_was_computed() -> None:
    """Also by what was computed for clients that had left, and without the fresh request."""
    asked = [Asked(1, 0.5, ANSWERED), Asked(12, 1.5, ANSWERED), Asked(12.5, 1.9, ANSWERED), Asked(3, 2, GAVE_UP)]
    storm = judge(asked, began=0, seconds=12, computed=31, fresh_s=0.4)
    assert storm == Storm(2 / 12, 3 / 30, 0.4, {GAVE_UP: 1})


def test_a_storm_in_which_nothing_was_computed() -> None:
    """Has no useful share."""
    assert judge([], began=0, seconds=12, computed=0, fresh_s=None).useful is None


def test_a_peer_can_be_asked_for_in_another_shape() -> None:
    """mosec:2x1 is mosec with two processes with a model and one thread to each, under a name of its own."""
    known = contenders(Path("environments"), Path("data"), Path("work"), None)
    (found,) = chosen(known, ["mosec:2x1"])
    assert found.name == "mosec:2x1"
    assert found.environment["PEER_WORKERS"] == "2"
    assert found.environment["PEER_THREADS"] == "1"


def test_a_peer_that_cannot_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is tried once, however many shapes it has, and before the rounds; Glimt needs no environment."""
    tried = []

    def fail(name: str, environments: Path) -> None:
        tried.append(name)
        raise NotRunning("no index")

    monkeypatch.setattr(compare, "install", fail)
    known = contenders(Path("environments"), Path("data"), Path("work"), None)
    servers = chosen(known, ["mosec", "mosec:2x1", "glimt-openvino"])
    assert compare.missing(servers, Path("environments")) == {"mosec": "no index"}
    assert tried == ["mosec"]


def test_a_peer_without_our_findings(tmp_path: Path) -> None:
    """mosec:plain resizes and opens its session as most code does."""
    known = contenders(tmp_path, tmp_path, tmp_path, None)
    (found,) = chosen(known, ["mosec:plain"])
    assert found.environment["PEER_PLAIN"] == "1"
    assert found.environment_name == "mosec"


@pytest.mark.parametrize("name", ["mosek", "mosec:2", "mosec:axb", "glimt-tensorflow:2x1"])
def test_an_unknown_server_is_named(name: str) -> None:
    """With those that are known."""
    with pytest.raises(NotRunning, match=f"{name} is not known. Known: .*mosec"):
        chosen(contenders(Path("environments"), Path("data"), Path("work"), None), [name])


NOTHING, HANG_UP = b"", b"hang up"


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """A server that answers each picture with these bytes; its port."""

    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            while (line := await reader.readline()) != b"\r\n":
                head = line if line.startswith(b"Content-Length") else head
            await reader.readexactly(int(head.split()[1]))
            if answer == HANG_UP:
                break
            writer.write(answer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await ended.wait()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    ],
)
async def test_an_answer_is_read_to_its_end(answer: bytes) -> None:
    """By its length or in chunks; the connection then serves the next."""
    async with answering(answer) as port:
        connection = Connection(port)
        assert await connection.post(b"one") == Answer(200, b"hello")
        assert await connection.post(b"two") == Answer(200, b"hello")
        connection.close()


async def ask(port: int, manner: Manner) -> list[Asked]:
    """A client that begins just in time for one request."""
    asked: list[Asked] = []
    await client(port, Distinct([b"picture"]), time.perf_counter() + manner.pause_s / 2, manner, asked)
    return asked


async def test_a_client_gives_up() -> None:
    """When its patience is over."""
    async with answering(NOTHING) as port:
        (one,) = await ask(port, Manner(patience_s=0.05, pause_s=0.05))
    assert one.outcome == GAVE_UP
    assert one.took >= 0.05


async def test_a_refused_client_does_not_hammer() -> None:
    """It asks again when the pause is over, which here is after its time."""
    async with answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n") as port:
        assert [one.outcome for one in await ask(port, Manner(patience_s=5, pause_s=0.2))] == ["503"]


@pytest.mark.parametrize(("told_s", "obey_s", "least", "most"), [(9, 0.2, 0.2, 5), (9, 0, 0, 0.2), (0, 1, 0, 0.2)])
async def test_a_refused_client_waits_as_told(told_s: int, obey_s: float, least: float, most: float) -> None:
    """Up to what its manner obeys."""
    answer = b"HTTP/1.1 503 Busy\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n" % told_s
    asked: list[Asked] = []
    async with answering(answer) as port:
        until = time.perf_counter() + 0.3
        await client(port, Distinct([b"picture"]), until, Manner(patience_s=5, pause_s=0.01, obey_s=obey_s), asked)
    assert least <= asked[1].idle < most
    assert [one.first for one in asked[:2]] == [True, False]


async def test_a_broken_connection_is_an_outcome() -> None:
    """Never the end of the run."""
    async with answering(HANG_UP) as port:
        (one,) = await ask(port, Manner(patience_s=5, pause_s=0.2))
    assert one.outcome == BROKEN


FORKING = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:], start_new_session=True); time.sleep(1000)"


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
def test_the_whole_family_is_killed(tmp_path: Path) -> None:
    """Also a grandchild in a session of its own, as Ray has them."""
    child = (sys.executable, "-c", "import time; time.sleep(1000)")
    forking = Contender("forking", (sys.executable, "-c", FORKING, *child), peer=False)
    with running(forking, tmp_path / "log", lambda port: True) as server:
        until = time.monotonic() + 30
        while len(family(server.mark)) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        assert len(family(server.mark)) == 2
    assert family(server.mark) == []


@pytest.mark.parametrize("command", [("/nowhere/at/all",), (sys.executable, "-c", "raise SystemExit('no model')")])
def test_a_server_that_does_not_start_says_why(tmp_path: Path, command: tuple[str, ...]) -> None:
    """With its last words."""
    broken = Contender("broken", command, peer=False)
    with pytest.raises(NotRunning, match=r"no model|nowhere"), running(broken, tmp_path / "log", lambda port: False):
        pass
