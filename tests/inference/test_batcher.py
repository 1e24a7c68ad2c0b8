"""The batcher's contract, a test per line. Time is virtual (tests/warp.py); the runner is gated."""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Any

import pytest

from service.errors import DeadlineExceeded, Draining, EngineFailed, NotReady, QueueFull
from service.inference.batcher import Batcher
from service.inference.batches import Batch, Outcome
from service.inference.lanes import BULK, BULK_TURN, COMPANY_S, QUIET_S
from service.inference.overload import Overload
from service.inference.pace import FIRST_GUESS_S
from tests.warp import settle, warp_loop, warped

WINDOW_MS = 1000.0


class Runner:
    """Doubles each number. Waits at `gate` first, and for `run_s` of virtual time; records every batch it ran."""

    def __init__(self, run_s: float = 0.0, *, open_gate: bool = True) -> None:
        self.run_s = run_s
        self.gate = asyncio.Event()
        self.batches: list[list[int]] = []
        self.poison: dict[int, BaseException] = {}
        self.given = 0
        self._one_at_a_time = asyncio.Lock()
        if open_gate:
            self.gate.set()

    async def __call__(self, items: list[int]) -> Sequence[int]:
        self.given += 1
        assert self.given <= 2, "more than the next batch at hand"
        try:
            async with self._one_at_a_time:
                self.batches.append(items)
                await self.gate.wait()
                await asyncio.sleep(self.run_s)
                for item in items:
                    if item in self.poison:
                        raise self.poison[item]
                return [2 * item for item in items]
        finally:
            self.given -= 1

    @property
    def computed(self) -> list[int]:
        return [item for batch in self.batches for item in batch]


Numbers = Batcher[int, int]


def numbers(runner: Runner, **changes: Any) -> Numbers:
    limits: dict[str, Any] = {"max_batch": 4, "max_wait_ms": WINDOW_MS, "max_pending": 100}
    return Batcher(runner, **(limits | changes))


def send(batcher: Numbers, *items: int, **options: Any) -> list[asyncio.Task[Outcome[int]]]:
    return [asyncio.create_task(batcher.submit(item, **options)) for item in items]


async def busy(batcher: Numbers, runner: Runner) -> asyncio.Task[Outcome[int]]:
    """Keep the runner busy with item 0 until its gate opens."""
    runner.gate.clear()
    (task,) = send(batcher, 0)
    await settle()
    assert runner.batches == [[0]]
    return task


# When a batch leaves


@warped
async def test_full_batch_leaves_at_once() -> None:
    """max_batch jobs leave together, before the window has passed and although more are announced."""
    runner = Runner()
    async with numbers(runner) as batcher:
        with batcher.door.announce():
            outcomes = await asyncio.gather(*send(batcher, 1, 2, 3, 4))
    assert runner.batches == [[1, 2, 3, 4]]
    assert {outcome.released_by for outcome in outcomes} == {"full"}
    assert warp_loop().now == 0


@warped
async def test_batch_is_never_larger_than_max_batch() -> None:
    """Nine jobs at once leave as 4 + 4 + 1."""
    runner = Runner()
    async with numbers(runner) as batcher:
        await asyncio.gather(*send(batcher, *range(9)))
    assert [len(batch) for batch in runner.batches] == [4, 4, 1]


@warped
async def test_window_counts_from_arrival() -> None:
    """With another item announced, the head leaves exactly max_wait after it arrived, and takes who came since."""
    runner = Runner()
    async with numbers(runner) as batcher:
        with batcher.door.announce():
            (first,) = send(batcher, 1)
            await asyncio.sleep(0.4)
            (second,) = send(batcher, 2)
            assert (await first).released_by == "window"
            assert warp_loop().now == pytest.approx(WINDOW_MS / 1000)
            assert (await second).queue_s == pytest.approx(0.6)
    assert runner.batches == [[1, 2]]


@warped
async def test_aged_head_leaves_at_once() -> None:
    """Whoever waited out the window while the runner was busy leaves as soon as it is free, with all who came."""
    runner = Runner()
    async with numbers(runner) as batcher:
        blocker = await busy(batcher, runner)
        waiting = send(batcher, 1, 2)
        await asyncio.sleep(5)
        with batcher.door.announce():
            runner.gate.set()
            await blocker
            outcome = await waiting[0]
    assert runner.batches == [[0], [1, 2]]
    assert outcome.released_by == "window"
    assert outcome.queue_s == pytest.approx(5)
    assert warp_loop().now == pytest.approx(5)


@warped
async def test_idle_runner_gets_a_lone_job_at_once() -> None:
    """Nobody else is on the way: waiting buys nothing."""
    async with numbers(Runner()) as batcher:
        outcome = await batcher.submit(1)
    assert (outcome.result, outcome.released_by, outcome.batch_size) == (2, "idle", 1)
    assert warp_loop().now == 0


@warped
async def test_batch_leaves_when_the_last_announced_gives_up() -> None:
    """An announced item that never comes (its picture was damaged) does not cost the others the window."""
    async with numbers(Runner()) as batcher:
        with batcher.door.announce():
            (task,) = send(batcher, 1)
            await asyncio.sleep(0.25)
            assert not task.done()
        assert (await task).released_by == "idle"
    assert warp_loop().now == pytest.approx(0.25)


@warped
async def test_batch_leaves_in_time_for_a_deadline() -> None:
    """A deadline before the window's end makes the batch leave early enough to be computed."""
    runner = Runner(run_s=FIRST_GUESS_S)
    async with numbers(runner, max_wait_ms=10_000) as batcher:
        with batcher.door.announce():
            outcome = await batcher.submit(1, deadline=warp_loop().now + 2 + FIRST_GUESS_S)
    assert outcome.released_by == "deadline"
    assert outcome.queue_s <= 2


@warped
async def test_drain_computes_what_waits() -> None:
    """At drain the queue leaves without waiting for its window, and everybody is answered."""
    runner = Runner()
    async with numbers(runner) as batcher:
        blocker = await busy(batcher, runner)
        waiting = send(batcher, 1, 2)
        await settle()
        closing = asyncio.create_task(batcher.aclose(drain_s=60))
        await settle()
        runner.gate.set()
        assert [(await task).released_by for task in waiting] == ["drain", "drain"]
        await blocker
        await closing
    assert warp_loop().now < WINDOW_MS / 1000


@warped
async def test_drain_waits_for_the_announced() -> None:
    """What was admitted before the drain is still taken and answered."""
    async with numbers(Runner()) as batcher:
        with batcher.door.announce():
            closing = asyncio.create_task(batcher.aclose(drain_s=60))
            await asyncio.sleep(1)
        assert (await batcher.submit(1)).result == 2
        await closing


@warped
async def test_drain_admits_nothing_new() -> None:
    """While a drain goes on, admission says Draining although the queue still lives."""
    runner = Runner()
    async with numbers(runner) as batcher:
        blocker = await busy(batcher, runner)
        (waiting,) = send(batcher, 1)
        await settle()
        closing = asyncio.create_task(batcher.aclose(drain_s=60))
        await settle()
        with pytest.raises(Draining):
            batcher.door.refuse_if_full()
        with pytest.raises(Draining), batcher.door.announce():
            pass
        runner.gate.set()
        await asyncio.gather(blocker, waiting, closing)


@warped
async def test_drain_ends_with_its_time() -> None:
    """A runner that never comes back cannot hold up the shutdown: the rest is released with Draining."""
    runner = Runner(open_gate=False)
    async with numbers(runner) as batcher:
        tasks = send(batcher, 1, 2, 3, 4, 5)
        await settle()
        await batcher.aclose(drain_s=7)
        assert warp_loop().now == pytest.approx(7)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [Draining] * 5


@warped
async def test_closed_batcher_refuses() -> None:
    """After aclose, submit and announce say Draining at once."""
    async with numbers(Runner()) as batcher:
        await batcher.aclose()
        with pytest.raises(Draining):
            await batcher.submit(1)
        with pytest.raises(Draining), batcher.door.announce():
            pass


@warped
async def test_one_timer_per_batch() -> None:
    """Arrivals during a window do not set timers of their own, and an idle batcher does not poll."""
    async with numbers(Runner(), max_batch=16) as batcher:
        with batcher.door.announce():
            tasks = []
            for item in range(10):
                tasks += send(batcher, item)
                await settle()
            await asyncio.gather(*tasks)
        loop = warp_loop()
        assert loop.timers == 1
        slept = loop.sleeps
        await asyncio.sleep(3600)
        assert loop.sleeps == slept + 1


@warped
async def test_timer_that_fires_early_is_armed_again() -> None:
    """uvloop's timers may come a little early; then the batch still leaves at its time, not never."""
    async with numbers(Runner()) as batcher:
        with batcher.door.announce():
            warp_loop().early_s = 0.01
            outcome = await batcher.submit(1)
    assert outcome.released_by == "window"
    assert warp_loop().now == pytest.approx(WINDOW_MS / 1000)


# What enters a batch


@warped
async def test_cancelled_job_never_enters_a_batch() -> None:
    """A caller that leaves while queued frees its place at once and is not computed."""
    runner = Runner()
    async with numbers(runner) as batcher:
        blocker = await busy(batcher, runner)
        leaver, stayer = send(batcher, 1, 2)
        await settle()
        leaver.cancel()
        await settle()
        assert batcher.stats().pending == 1
        runner.gate.set()
        await asyncio.gather(blocker, stayer)
        assert batcher.stats().totals["cancelled"] == 1
    assert runner.computed == [0, 2]


@warped
async def test_job_cancelled_in_the_same_turn_never_enters_a_batch() -> None:
    """Also when the cancel falls between the end of one run and the forming of the next batch."""
    runner = Runner()
    tasks: list[asyncio.Task[Outcome[int]]] = []

    def cancel(batch: Batch) -> None:
        asyncio.get_running_loop().call_soon(tasks[0].cancel)

    async with numbers(runner, max_batch=2, observe=cancel) as batcher:
        blocker = await busy(batcher, runner)
        tasks += send(batcher, 1, 2, 3)
        await settle()
        runner.gate.set()
        await asyncio.gather(blocker, *tasks[1:])
    assert runner.batches == [[0], [2, 3]]


@warped
async def test_past_deadline_job_never_enters_a_batch() -> None:
    """It is told at its deadline, also while the runner is busy, and is not computed."""
    runner = Runner()
    async with numbers(runner) as batcher:
        blocker = await busy(batcher, runner)
        (late,) = send(batcher, 1, deadline=3.0)
        with pytest.raises(DeadlineExceeded):
            await late
        assert warp_loop().now == pytest.approx(3)
        runner.gate.set()
        await blocker
        assert batcher.stats().totals["expired"] == 1
    assert runner.computed == [0]


@warped
async def test_deadline_already_past_is_not_computed() -> None:
    """A job that arrives too late meets an idle runner and still is not computed."""
    runner = Runner()
    async with numbers(runner) as batcher:
        await asyncio.sleep(10)
        with pytest.raises(DeadlineExceeded):
            await batcher.submit(1, deadline=5.0)
        await batcher.submit(2)
    assert runner.computed == [2]


@warped
async def test_deadline_that_passes_while_the_loop_is_busy() -> None:
    """Its timer has not come yet when the next batch is formed: it takes nobody's place there."""
    runner = Runner(run_s=1)

    def be_busy(batch: Batch) -> None:
        warp_loop().now = max(warp_loop().now, 10)

    async with numbers(runner, max_batch=2, observe=be_busy) as batcher:
        blocker = await busy(batcher, runner)
        tasks = send(batcher, 1, deadline=5.0) + send(batcher, 2, deadline=11.5) + send(batcher, 3)
        await settle()
        runner.gate.set()
        _, expired, hurried, patient = await asyncio.gather(blocker, *tasks, return_exceptions=True)
    assert runner.batches == [[0], [3, 2]]
    assert [type(end) for end in (expired, hurried, patient)] == [DeadlineExceeded, Outcome, Outcome]


@warped
async def test_deadline_during_the_run() -> None:
    """Never a late answer: DeadlineExceeded at the deadline; the neighbours in the batch get their results."""
    runner = Runner(run_s=10)
    async with numbers(runner, max_batch=2) as batcher:
        hurried, patient = send(batcher, 1, deadline=4.0) + send(batcher, 2)
        with pytest.raises(DeadlineExceeded):
            await hurried
        assert warp_loop().now == pytest.approx(4)
        assert (await patient).result == 4


@warped
async def test_leaver_during_the_run_harms_nobody() -> None:
    """A result for a caller who has gone is dropped; the others get theirs."""
    runner = Runner(run_s=1)
    async with numbers(runner) as batcher:
        tasks = send(batcher, 1, 2, 3, 4)
        await settle()
        tasks[0].cancel()
        outcomes = await asyncio.gather(*tasks[1:])
    assert [outcome.result for outcome in outcomes] == [4, 6, 8]


# The next batch at hand


@warped
async def test_a_full_batch_is_at_hand_before_the_runner_is_free() -> None:
    """Then it need not wait for the event loop. Of what was measured nothing changes by it."""
    runner = Runner(run_s=1)
    async with numbers(runner) as batcher:
        tasks = send(batcher, *range(12))
        await asyncio.sleep(0.95)
        assert runner.given == 1  # nobody knows yet how long a batch takes
        await asyncio.sleep(0.8)
        assert runner.given == 1
        assert (batcher.stats().pending, batcher.stats().running) == (4, 4)
        await asyncio.sleep(0.1)
        assert runner.given == 2
        assert (batcher.stats().pending, batcher.stats().running) == (0, 8)
        outcomes = await asyncio.gather(*tasks)
        assert [outcome.queue_s for outcome in outcomes] == pytest.approx([0] * 4 + [1] * 4 + [2] * 4)
        assert batcher.stats().items_per_s == pytest.approx(4)
    assert warp_loop().now == pytest.approx(3)


@warped
async def test_only_the_next_batch_is_at_hand_and_only_a_full_one() -> None:
    """Whoever is in it cannot leave uncomputed any more, or be joined by others."""
    runner = Runner(run_s=1)
    async with numbers(runner) as batcher:
        await asyncio.gather(*send(batcher, *range(4)))
        tasks = send(batcher, *range(4), 10, 11, 12)
        await asyncio.sleep(0.99)
        assert runner.given == 1
        tasks += send(batcher, 13, *range(20, 28))
        await settle()
        assert runner.given == 2
        runner.run_s = 100
        await asyncio.sleep(50)
        assert (runner.given, batcher.stats().pending) == (2, 4)
        assert batcher.stats().running_s == pytest.approx(49.99)
        await asyncio.gather(*tasks)
    assert runner.batches[1:] == [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23], [24, 25, 26, 27]]


@warped
async def test_a_runner_that_is_late_gets_no_more_than_the_next() -> None:
    """Only one batch waits at it, however long it takes."""
    runner = Runner(run_s=1)
    async with numbers(runner) as batcher:
        await asyncio.gather(*send(batcher, *range(4)))
        runner.gate.clear()
        tasks = send(batcher, *range(16))
        await asyncio.sleep(100)
        assert (runner.given, batcher.stats().pending, batcher.stats().running) == (2, 8, 8)
        runner.gate.set()
        await asyncio.gather(*tasks)


@warped
async def test_who_is_at_hand_is_answered_in_time() -> None:
    """What cannot be done before its deadline, because the batch before is still running, goes last."""
    runner = Runner(run_s=1)
    async with numbers(runner) as batcher:
        await asyncio.gather(*send(batcher, *range(4)))
        tasks = send(batcher, *range(4)) + send(batcher, 10, deadline=2.95) + send(batcher, 11, 12, 13, 14)
        await asyncio.gather(*tasks, return_exceptions=True)
    assert runner.batches[2] == [11, 12, 13, 14]


@warped
async def test_only_what_would_fill_a_batch_is_at_hand() -> None:
    """An archive waits behind a lone caller: who comes next still joins his batch."""
    runner = Runner(run_s=1)
    async with numbers(runner) as batcher:
        await asyncio.gather(*send(batcher, *range(4)))
        tasks = send(batcher, *range(4)) + send(batcher, *range(100, 110), lane=BULK) + send(batcher, 10)
        await asyncio.sleep(0.95)
        assert runner.given == 1
        tasks += send(batcher, 11)
        await asyncio.gather(*tasks)
    assert runner.batches[2] == [10, 11]


@warped
async def test_bulk_is_not_at_hand_while_callers_are_about() -> None:
    """The next of them waits for one picture, not for two."""
    runner = Runner(run_s=0.05)
    async with numbers(runner) as batcher:
        await batcher.submit(0)
        tasks = send(batcher, *range(100, 120), lane=BULK)
        await asyncio.sleep(QUIET_S + 0.045)
        assert (runner.given, runner.batches[-1]) == (1, [100])
        begun = warp_loop().now
        await batcher.submit(1)
        assert warp_loop().now - begun == pytest.approx(0.055)
        await asyncio.gather(*tasks)


@warped
async def test_bulk_rests_before_it_is_at_hand() -> None:
    """A caller whose picture took so long that nobody expects another may still ask again at once."""
    runner = Runner(run_s=2 * COMPANY_S)
    async with numbers(runner) as batcher:
        await batcher.submit(0)
        caller = send(batcher, 1)[0]
        tasks = send(batcher, *range(100, 108), lane=BULK)
        await asyncio.sleep(2 * COMPANY_S - 0.01)
        assert runner.given == 1
        await caller
        await batcher.submit(2)
        assert runner.batches[:3] == [[0], [1], [2]]
        await asyncio.gather(*tasks)


@warped
async def test_nothing_goes_between_the_halves_of_a_failed_batch() -> None:
    """Those beside the guilty one have waited long enough."""
    runner = Runner(run_s=1)
    async with numbers(runner) as batcher:
        await asyncio.gather(*send(batcher, *range(4)))
        runner.poison[3] = ValueError("poison")
        tasks = send(batcher, *range(4), *range(10, 30))
        await asyncio.gather(*tasks, return_exceptions=True)
    assert runner.batches[1:7] == [[0, 1, 2, 3], [10, 11, 12, 13], [0, 1], [2, 3], [2], [3]]


@warped
async def test_what_came_before_is_not_counted_as_running() -> None:
    """A run that took long and failed was none of the next one's time."""
    runner = Runner(run_s=1)
    async with numbers(runner) as batcher:
        await asyncio.gather(*send(batcher, *range(4)))
        batcher.pace.begin(0.25)
        runner.poison[0] = NotReady("it hung", retry_after_s=1)
        tasks = send(batcher, *range(8))
        await asyncio.sleep(0.5)
        runner.run_s = 20
        await asyncio.sleep(0.4)
        runner.run_s = 1
        *_, last = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(last, Outcome)
        assert last.queue_s == pytest.approx(1)
        assert batcher.stats().items_per_s == pytest.approx(4)


@warped
async def test_a_drained_door_is_closed() -> None:
    """Nobody unannounced gets in while the last batch is computed: he would not be computed any more."""
    async with numbers(Runner(run_s=5)) as batcher:
        (last,) = send(batcher, 1)
        await settle()
        closing = asyncio.create_task(batcher.aclose(drain_s=60))
        await settle()
        with pytest.raises(Draining):
            await batcher.submit(2)
        assert warp_loop().now == 0
        await asyncio.gather(last, closing)


@warped
async def test_another_runner_has_its_own_pace() -> None:
    """What was measured of the last one is forgotten, and what that still computes is not noted."""
    runner = Runner(run_s=1)
    async with numbers(runner) as batcher:
        for _ in range(9):
            await batcher.submit(1)
        tasks = send(batcher, *range(4))
        await settle()
        batcher.pace.begin(0.5)
        await asyncio.gather(*tasks)
        assert batcher.stats().items_per_s == pytest.approx(2)
        await asyncio.gather(*send(batcher, *range(4)))
        assert batcher.stats().items_per_s == pytest.approx(2 / 0.75)


# Failures


@warped
async def test_only_the_guilty_item_fails() -> None:
    """A run that raises is repeated in halves."""
    runner = Runner()
    runner.poison[3] = ValueError("poison")
    async with numbers(runner) as batcher:
        ends = await asyncio.gather(*send(batcher, 1, 2, 3, 4), return_exceptions=True)
    assert [type(end) for end in ends] == [Outcome, Outcome, EngineFailed, Outcome]
    assert runner.batches == [[1, 2, 3, 4], [1, 2], [3, 4], [3], [4]]


@warped
async def test_what_is_no_items_fault_is_not_repeated() -> None:
    """A runner that cannot compute now is not asked again for each half: all are told to come again."""
    runner = Runner()
    runner.poison[3] = NotReady("not now", retry_after_s=60)
    async with numbers(runner) as batcher:
        ends = await asyncio.gather(*send(batcher, 1, 2, 3, 4), return_exceptions=True)
        assert [(type(end), str(end)) for end in ends] == [(NotReady, "not now")] * 4
        assert batcher.stats().totals == {"submitted": 4, "refused": 4}
    assert runner.batches == [[1, 2, 3, 4]]


@warped
async def test_abandoned_jobs_are_not_computed_again() -> None:
    """Who leaves during a run that fails is not in its halves."""
    runner = Runner(run_s=1)
    runner.poison[4] = ValueError("poison")
    async with numbers(runner) as batcher:
        tasks = send(batcher, 1, 2, 3, 4)
        await settle()
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert runner.batches[1:] == [[2], [3, 4], [3], [4]]


@warped
async def test_wrong_count_is_a_failed_run() -> None:
    """A runner that returns too few or too many results fails; nobody gets another's row."""

    async def short(items: list[int]) -> list[int]:
        return items[1:] if len(items) > 1 else items

    async with Batcher(short, max_batch=2, max_wait_ms=0, max_pending=9) as batcher:
        outcomes = await asyncio.gather(batcher.submit(1), batcher.submit(2))
    assert [(outcome.result, outcome.batch_size) for outcome in outcomes] == [(1, 1), (2, 1)]


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError(), MemoryError()])
def test_the_loop_survives_any_exception(error: BaseException) -> None:
    """Even a BaseException out of the runner's thread fails one item only, and the next is computed."""

    @warped
    async def run() -> None:
        runner = Runner()
        runner.poison[1] = error
        async with numbers(runner) as batcher:
            with pytest.raises(EngineFailed):
                await batcher.submit(1)
            assert (await batcher.submit(2)).result == 4
            assert batcher.stats().alive

    run()


@warped
async def test_a_faulty_observer_does_not_stop_the_loop() -> None:
    """What goes wrong beside the run harms neither the batch nor the worker."""
    calls: list[Batch] = []

    def observe(batch: Batch) -> None:
        calls.append(batch)
        if len(calls) == 1:
            raise ZeroDivisionError

    async with numbers(Runner(), observe=observe) as batcher:
        assert (await batcher.submit(1)).result == 2
        assert (await batcher.submit(2)).result == 4
        assert [batch.size for batch in calls] == [1, 1]


@warped
async def test_a_batch_that_nobody_wants_any_more_is_not_observed() -> None:
    """When all that was taken has expired there was no batch."""
    sizes: list[int] = []
    runner = Runner(run_s=5)
    async with numbers(runner, max_batch=1, observe=lambda batch: sizes.append(batch.size)) as batcher:
        await asyncio.gather(*send(batcher, 1), *send(batcher, 2, deadline=5.0), return_exceptions=True)
    assert sizes == [1]


@warped
async def test_a_dead_worker_releases_everyone() -> None:
    """If the worker task dies all the same, nobody waits for ever, and it shows in `alive`."""

    class Fatal(BaseException):
        pass

    def die(batch: Batch) -> None:
        raise Fatal

    async with numbers(Runner(run_s=1), observe=die, max_batch=1) as batcher:
        ends = await asyncio.gather(*send(batcher, 1, 2, 3), return_exceptions=True)
        assert [type(end) for end in ends] == [Outcome, NotReady, NotReady]
        assert not batcher.stats().alive
        with pytest.raises(NotReady):
            await batcher.submit(4)


# Bounds


@warped
async def test_full_queue_refuses_at_once() -> None:
    """max_pending waiting: QueueFull, with the queued work divided by the measured rate as retry_after."""
    runner = Runner(run_s=8)
    async with numbers(runner, max_pending=3) as batcher:
        for _ in range(40):
            await batcher.submit(0)
        blocker, *waiting = send(batcher, 0)
        await settle()
        waiting = send(batcher, 1, 2, 3)
        await settle()
        with pytest.raises(QueueFull) as refused:
            await batcher.submit(4)
        assert refused.value.retry_after_s == 32  # three waiting and one running, 8 s each
        assert batcher.stats().totals["refused"] == 1
        await asyncio.gather(blocker, *waiting)
    assert 4 not in runner.computed


@warped
async def test_announced_items_hold_places() -> None:
    """What is being decoded counts as waiting, so an admitted item is never refused later."""
    async with numbers(Runner(), max_pending=2) as batcher:
        with batcher.door.announce(), batcher.door.announce():
            with pytest.raises(QueueFull), batcher.door.announce():
                pass
            with pytest.raises(QueueFull):
                batcher.door.refuse_if_full()
        batcher.door.refuse_if_full()


@warped
async def test_streams_wait_for_room() -> None:
    """wait_for_room returns when a place is free, not before."""
    runner = Runner()
    async with numbers(runner, max_pending=1) as batcher:
        blocker = await busy(batcher, runner)
        (waiting,) = send(batcher, 1)
        await settle()
        room = asyncio.create_task(batcher.door.wait_for_room())
        await settle()
        assert not room.done()
        waiting.cancel()
        await room
        runner.gate.set()
        await blocker


@warped
async def test_configure_while_running() -> None:
    """New limits hold from the next batch on; a bad one raises and changes nothing."""
    runner = Runner()
    async with numbers(runner) as batcher:
        batcher.configure(max_batch=2, max_wait_ms=3, max_pending=7)
        await asyncio.gather(*send(batcher, 1, 2, 3, 4))
        assert runner.batches == [[1, 2], [3, 4]]
        for bad in ({"max_batch": 0}, {"max_pending": 0}, {"max_wait_ms": -1.0}, {"max_wait_ms": float("inf")}):
            with pytest.raises(ValueError, match="must be"):
                batcher.configure(**{"max_batch": 9, **bad})  # type: ignore[arg-type]
        stats = batcher.stats()
    assert (stats.max_batch, stats.max_wait_ms, stats.max_pending) == (2, 3.0, 7)


@warped
async def test_stats_add_up() -> None:
    """The snapshot shows what waits, what is announced and what runs, and goes back to zero."""
    runner = Runner()
    async with numbers(runner) as batcher:
        blocker = await busy(batcher, runner)
        waiting = send(batcher, 1, 2)
        await settle()
        with batcher.door.announce():
            stats = batcher.stats()
        assert (stats.pending, stats.announced, stats.running) == (2, 1, 1)
        runner.gate.set()
        await asyncio.gather(blocker, *waiting)
        await settle()
        stats = batcher.stats()
        assert (stats.pending, stats.announced, stats.running) == (0, 0, 0)
        assert stats.totals == {"submitted": 3, "completed": 3}


@warped
async def test_the_rate_is_measured() -> None:
    """items_per_s follows the runner, from the first guess on."""
    async with numbers(Runner(run_s=2)) as batcher:
        for _ in range(60):
            await asyncio.gather(*send(batcher, 1, 2, 3, 4))
        assert batcher.stats().items_per_s == pytest.approx(2, rel=0.01)


@warped
async def test_one_pause_of_the_machine_is_not_the_rate() -> None:
    """Else whoever comes after it would be refused for what the runner can well do."""
    runner = Runner(run_s=0.1)
    async with numbers(runner) as batcher:
        for runner.run_s in (0.1, 0.1, 0.1, 60.0, 0.1):
            await batcher.submit(1)
        assert batcher.stats().items_per_s == pytest.approx(10)


# Order


@warped
async def test_arrival_order() -> None:
    """First come, first served, and everybody gets his own result."""
    runner = Runner()
    async with numbers(runner, max_batch=3) as batcher:
        outcomes = await asyncio.gather(*send(batcher, *range(10)))
    assert runner.computed == list(range(10))
    assert [outcome.result for outcome in outcomes] == [2 * item for item in range(10)]


@warped
async def test_interactive_goes_before_bulk() -> None:
    """A bulk job waits while interactive ones do, and makes none of their batches longer."""
    runner = Runner()
    async with numbers(runner) as batcher:
        blocker = await busy(batcher, runner)
        tasks = send(batcher, 100, 101, lane=BULK) + send(batcher, 1, 2)
        await settle()
        runner.gate.set()
        await asyncio.gather(blocker, *tasks)
    assert runner.batches[1:] == [[1, 2], [100], [101]]


@warped
async def test_bulk_batches_are_short_while_callers_are_about() -> None:
    """Whoever comes next waits for one picture; once nobody has come for a while, whole batches."""
    runner = Runner()
    async with numbers(runner) as batcher:
        await batcher.submit(1)
        await asyncio.gather(*send(batcher, 100, 101, lane=BULK))
        await asyncio.sleep(COMPANY_S)
        await asyncio.gather(*send(batcher, 102, 103, 104, lane=BULK))
    assert runner.batches == [[1], [100], [101], [102, 103, 104]]


@warped
async def test_bulk_rests_while_a_lone_caller_asks_again_and_again() -> None:
    """Nearly every request of such a caller waited for the bulk picture that was begun while it was on its way."""
    runner = Runner(run_s=0.01)
    async with numbers(runner) as batcher:
        bulk = send(batcher, *range(100, 140), lane=BULK)
        loop, waits = asyncio.get_running_loop(), []
        await batcher.submit(0)
        for number in range(1, 51):
            await asyncio.sleep(0.01)
            begun = loop.time()
            await batcher.submit(number)
            waits.append(loop.time() - begun)
        assert sum(wait > 0.0101 for wait in waits) <= 2
        assert 1 <= sum(task.done() for task in bulk) < 10
        await asyncio.gather(*bulk)


@warped
async def test_a_drain_does_not_rest() -> None:
    """What bulk waits for is a caller, and none comes any more."""
    runner = Runner()
    async with numbers(runner) as batcher:
        await batcher.submit(1)
        begun = asyncio.get_running_loop().time()
        task = send(batcher, 100, lane=BULK)[0]
        await settle()
        assert runner.batches == [[1]]
        await batcher.aclose(drain_s=1000)
        assert asyncio.get_running_loop().time() == begun
        assert (await task).result == 200


@warped
async def test_bulk_never_starves() -> None:
    """Passed over for BULK_TURN interactive jobs, the bulk lane gets a quarter of the next batch."""
    runner = Runner()
    async with numbers(runner, max_batch=4) as batcher:
        blocker = await busy(batcher, runner)
        tasks = send(batcher, 100, 101, lane=BULK) + send(batcher, *range(1, BULK_TURN + 9))
        await settle()
        runner.gate.set()
        await asyncio.gather(blocker, *tasks)
    batches = runner.batches[1:]
    without = BULK_TURN // 4
    assert [len([item for item in batch if item >= 100]) for batch in batches[: without + 1]] == [0] * without + [1]


@warped
async def test_standing_overload_serves_the_newest_and_refuses_the_old() -> None:
    """When the shortest wait stays above the target: newest first, the too old get QueueFull; then order returns."""
    runner = Runner(run_s=1)
    async with numbers(runner, max_batch=1, overload=Overload(longest_s=4, interval_s=2)) as batcher:
        tasks = send(batcher, *range(12), deadline=1000.0)
        await asyncio.sleep(5.5)
        tasks += send(batcher, *range(50, 60), deadline=1000.0)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert runner.computed[:8] == [0, 1, 2, 3, 4, 59, 58, 57]
        refused = [isinstance(end, QueueFull) for end in ends]
        assert refused.count(True) == 22 - len(runner.computed)
        assert all(refused[5:12])
        runner.batches.clear()
        await asyncio.gather(*send(batcher, 1, 2))
        assert not batcher.stats().overloaded
    assert runner.computed == [1, 2]


@warped
async def test_overload_ends_when_arrival_order_serves_everybody_again() -> None:
    """A closed loop of 40 clients at 10/s waits 4 s, which is good (target 6 s). One hiccup of 7 s makes it stand;
    afterwards it must not go on refusing for ever, as it did when only an empty queue ended it."""
    runner = Runner(run_s=0.4)
    async with numbers(runner, max_batch=4, overload=Overload(longest_s=8, interval_s=1)) as batcher:
        refused: list[float] = []

        async def client(number: int) -> None:
            while warp_loop().now < 300:
                try:
                    await batcher.submit(number, deadline=warp_loop().now + 10)
                except (QueueFull, DeadlineExceeded):
                    refused.append(warp_loop().now)
                    await asyncio.sleep(0.05)

        clients = [asyncio.create_task(client(number)) for number in range(40)]
        await asyncio.sleep(50)
        runner.run_s = 7
        await asyncio.sleep(1)
        runner.run_s = 0.4
        await asyncio.gather(*clients)
    assert refused
    assert all(50 < when < 80 for when in refused)


@pytest.mark.parametrize(("run_s", "max_batch"), [(0.64, 16), (0.24, 8), (0.033, 1)])
@warped
async def test_a_storm_of_clients_that_hang_up_is_served_usefully(run_s: float, max_batch: int) -> None:
    """100 clients in a closed loop hang up after 2 s and ask again, for 12 s: nine in ten of the computed
    are delivered, the runner does not idle, and a fresh one afterwards is served at once."""
    runner, delivered = Runner(run_s=run_s), 0
    async with numbers(runner, max_batch=max_batch, max_pending=256, overload=Overload()) as batcher:

        async def client(number: int) -> None:
            nonlocal delivered
            while warp_loop().now < 12:
                with contextlib.suppress(TimeoutError, QueueFull):
                    async with asyncio.timeout(2):
                        await batcher.submit(number, deadline=warp_loop().now + 10)
                        delivered += 1
                await asyncio.sleep(0.005)

        await asyncio.gather(*(client(number) for number in range(100)))
        computed, asked = len(runner.computed), warp_loop().now
        await batcher.submit(1000)
        fresh_s = warp_loop().now - asked
    assert delivered >= 0.9 * computed
    assert delivered >= 0.85 * 12 / run_s * max_batch
    assert fresh_s <= 2 * run_s + 0.01


@pytest.mark.parametrize("rate", [10, 100])
@warped
async def test_nobody_is_let_in_to_be_sent_away_later(rate: int) -> None:
    """Ten times as many callers as can be computed, for a minute, and one at the door for all: whoever is let in is
    answered well before his patience ends, in the order in which they came, and the runner does not idle."""
    runner, times = Runner(run_s=4 / rate), 10
    waits: list[float] = []
    refused = 0
    async with numbers(runner, max_batch=4, max_pending=256, overload=Overload()) as batcher:

        async def caller(number: int) -> None:
            begun = warp_loop().now
            await batcher.submit(number, deadline=begun + 10)
            waits.append(warp_loop().now - begun)

        callers = []
        for number in range(60 * rate * times):
            try:
                batcher.door.refuse_if_in_vain()
                callers.append(asyncio.create_task(caller(number)))
            except QueueFull:
                refused += 1
            await asyncio.sleep(1 / rate / times)
        await asyncio.gather(*callers)
        stats = batcher.stats()
    assert len(callers) + refused == 60 * rate * times
    assert stats.totals["refused"] == refused
    assert len(waits) == len(callers) >= 0.98 * 60 * rate
    assert runner.computed == sorted(runner.computed)
    assert max(waits) <= 0.75 * 8


@warped
async def test_at_the_door_only_callers_count() -> None:
    """What is on its way has a place; an archive's pictures have none, and a full batch is always let in. Before
    anything was measured only the number of places counts."""
    runner, overload = Runner(run_s=0.0625), Overload()
    async with numbers(runner, max_batch=4, overload=overload) as batcher:
        assert batcher.stats().places == 100
        await batcher.submit(0)
        assert batcher.stats().places == 76
        runner.batches.clear()
        blocker = await busy(batcher, runner)
        overload.patience_s = 0.01
        assert batcher.stats().places == 4
        tasks = send(batcher, 1, 2, 3) + send(batcher, *range(10, 20), lane=BULK)
        await settle()
        with batcher.door.announce(BULK):
            batcher.door.refuse_if_in_vain()
        with batcher.door.announce(), pytest.raises(QueueFull, match=r"4 pictures wait already, 0\.2 s of work"):
            batcher.door.refuse_if_in_vain()
        batcher.door.refuse_if_in_vain()
        batcher.configure(max_pending=3)
        with pytest.raises(QueueFull):
            batcher.door.refuse_if_in_vain()
        runner.gate.set()
        await asyncio.gather(blocker, *tasks)


@pytest.mark.parametrize(("options", "patience_s"), [({"deadline": 1000.0}, 2.4), ({}, 8.0)])
@warped
async def test_only_leavers_who_did_not_say_that_they_will_wait_teach(
    options: dict[str, float], patience_s: float
) -> None:
    """Twenty callers hang up after 3 s. A stream that breaks takes its whole window along, and teaches nothing."""
    runner, overload = Runner(run_s=5), Overload()
    async with numbers(runner, max_batch=1, overload=overload) as batcher:
        tasks = send(batcher, *range(20), **options)
        await asyncio.sleep(3)
        for task in tasks:
            task.cancel()
        await asyncio.sleep(3)
        await batcher.submit(20)
    assert overload.patience_s == pytest.approx(patience_s)


@pytest.mark.parametrize("seed", range(60))
def test_every_submit_ends_exactly_once(seed: int) -> None:
    """Random arrivals, lanes, cancels, deadlines, failures and reconfigurations: all ends are accounted for, nobody
    who left was computed after leaving, everybody answered got his own result, and the gauges return to zero."""
    warped(_random_life)(random.Random(seed))


async def _random_life(chance: random.Random) -> None:
    loop = warp_loop()
    left: dict[int, float] = {}

    class Checked(Runner):
        async def __call__(self, items: list[int]) -> Sequence[int]:
            assert len(items) <= 8
            assert not set(items) & left.keys(), "computed after it left"
            self.run_s = chance.choice([0.0, 0.01, 0.3])
            return await super().__call__(items)

    runner = Checked()
    runner.poison = {item: RuntimeError("poison") for item in chance.sample(range(200), 12)}
    async with numbers(runner, max_batch=8, max_wait_ms=20, max_pending=30) as batcher:
        tasks: dict[int, asyncio.Task[Outcome[int]]] = {}

        async def one(item: int) -> Outcome[int]:
            deadline = loop.now + chance.random() if chance.random() < 0.3 else None
            try:
                with batcher.door.announce():
                    await asyncio.sleep(chance.choice([0.0, 0.005, 0.05]))
                return await batcher.submit(item, deadline=deadline, lane=chance.choice(["interactive", "bulk"]))
            finally:
                left[item] = loop.now

        for item in range(200):
            tasks[item] = asyncio.create_task(one(item))
            if chance.random() < 0.2:
                tasks[chance.choice(list(tasks))].cancel()
            if chance.random() < 0.05:
                batcher.configure(max_batch=chance.randint(1, 8), max_wait_ms=chance.choice([0.0, 5.0, 100.0]))
            await asyncio.sleep(chance.choice([0.0, 0.0, 0.001, 0.05]))
        await batcher.aclose(drain_s=1000)
        ends = await asyncio.gather(*tasks.values(), return_exceptions=True)
        stats = batcher.stats()

    for item, end in enumerate(ends):
        if isinstance(end, Outcome):
            assert end.result == 2 * item
            assert item not in runner.poison
        else:
            assert isinstance(end, (QueueFull, DeadlineExceeded, EngineFailed, asyncio.CancelledError))
    totals = stats.totals
    ended = sum(totals.get(end, 0) for end in ("completed", "failed", "cancelled", "expired"))
    assert totals["submitted"] == ended
    assert (stats.pending, stats.announced, stats.running) == (0, 0, 0)


def test_real_time_on_uvloop() -> None:
    """On the loop that serves: uvloop's clock counts milliseconds, a timer that is due within half of one has no
    `when()` and may fire early. Both once stopped the worker: one for ever, the other until somebody else came."""
    uvloop = pytest.importorskip("uvloop")
    chance = random.Random(5)

    async def runner(items: list[int]) -> list[int]:
        await asyncio.sleep(0.003)
        return items

    async def stream(batcher: Batcher[int, int]) -> None:
        for item in range(60):
            with contextlib.suppress(DeadlineExceeded):
                with batcher.door.announce():
                    await asyncio.sleep(chance.random() * 0.012)
                deadline = asyncio.get_running_loop().time() + chance.random() * 0.2
                await batcher.submit(item, deadline=deadline if chance.random() < 0.5 else None)

    async def main() -> None:
        async with Batcher(runner, max_batch=16, max_wait_ms=5, max_pending=256) as batcher, asyncio.timeout(30):
            await asyncio.gather(*(stream(batcher) for _ in range(6)))
            with batcher.door.announce():
                for item in range(60):
                    await batcher.submit(item)
            assert batcher.alive

    uvloop.run(main())
