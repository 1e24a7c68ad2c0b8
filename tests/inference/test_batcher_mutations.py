"""Proof that the batcher's tests can fail: each kept mutation of its code must turn at least one of them red."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ["service/__init__.py", "service/errors.py", "service/inference", "tests/warp.py", "pyproject.toml"]
TESTS = [f"tests/inference/test_{name}.py" for name in ("batcher", "lanes", "overload")]
HUNG = (-signal.SIGALRM, -signal.SIGXCPU)
"""Their tests never ended. A mutant that hangs them is caught as well."""

# ruff: noqa: E501 (one mutation, one line)
MUTATIONS = [
    ("batcher", "window counts from now", "min(job.arrived for job in self._lanes) +", "self._loop.time() +"),
    ("batcher", "idle never leaves early", "window > self._loop.time() and not self.door.on_their_way", "False"),
    ("batcher", "idle ignores the announced", "and not self.door.on_their_way:", "and True:"),
    ("batcher", "deadline does not hurry", "if window <= urgent else", "if True else"),
    ("batcher", "no drain", 'return -math.inf, "drain"', "pass"),
    ("batcher", "drain forgets the announced", "self._lanes or self.door.on_their_way or not", "self._lanes or not"),
    ("batcher", "full waits", "if len(self._lanes) >= self.door.max_batch:", "if False:"),
    ("batcher", "larger batches", "self._lanes.take(self.door.max_batch,", "self._lanes.take(self.door.max_batch + 1,"),
    ("batcher", "a timer per arrival", "if self._armed_for != when:", "if True:"),
    ("batcher", "no cleanup after submit", "self._lanes.discard(job)", "pass"),
    ("batcher", "late answers", "asyncio.timeout_at(deadline)", "asyncio.timeout_at(None)"),
    ("halving", "abandoned jobs are rerun", "jobs = [job for job in jobs if not job.future.done()]", "jobs = list(jobs)"),
    ("halving", "repeated though it is no item's fault", "isinstance(attempt.error, Unavailable)", "False"),
    ("batcher", "only the first is told", "for job in run.jobs:\n                    self", "for job in run.jobs[:1]:\n                    self"),
    ("halving", "no halving", "attempt.error is None or len(jobs) == 1", "True"),
    ("halving", "second half lost", "(jobs[:middle], jobs[middle:])", "(jobs[:middle],)"),
    ("halving", "count unchecked", "if len(results) != len(jobs):", "if False:"),
    ("halving", "only Exception is survived", "except BaseException as error:", "except Exception as error:"),
    ("batcher", "futures settled twice", "if job.future.done():\n            return", "pass"),
    ("batcher", "faulty observer kills", "except Exception as error:\n            log", "except OSError as error:\n            log"),
    ("batcher", "dead worker keeps everyone", "self._task.add_done_callback(self._release_everyone)", "pass"),
    ("door", "unbounded", "if waiting >= self.max_pending:", "if False:"),
    ("door", "announced hold no place", "return len(self._lanes) + self.on_their_way", "return len(self._lanes)"),
    ("door", "dishonest retry_after", "(self.taken + self.running) * self._pace.item_s", "1"),
    ("pace", "rate not measured", "self.item_s = statistics.median(self._measured_s)", "pass"),
    ("pace", "one pause is the rate", "statistics.median(", "statistics.fmean("),
    ("batcher", "room never told", "self._lanes.discard(job)\n            self._wake.set()\n            self.door.look_again()", "self._lanes.discard(job)"),
    ("batcher", "half a configure", "raise ValueError(\"max_wait_ms must", "self.door.max_batch = max_batch or 1; raise ValueError(\"max_wait_ms must"),
    ("door", "draining admits", "if self.draining:\n            raise self.closed()", "pass"),
    ("batcher", "an early timer is not armed again", "self._armed_for = None  #", "pass  #"),
    ("lanes", "cancelled enter batches", "if job.future.done() or job.deadline <= now:", "if job.deadline <= now:"),
    ("lanes", "expired enter batches", "or job.deadline <= now:", "or False:"),
    ("lanes", "the hopeless go first", "elif job.deadline < done_at or", "elif"),
    ("lanes", "the patient are refused", "if job.deadline < math.inf and self", "if self"),
    ("lanes", "bulk first", "batch += urgent\n", "batch = batch + urgent if bulk_turn else urgent[::-1]\n"),
    ("lanes", "bulk starves", "self._bulk_passed_over >= BULK_TURN", "False"),
    ("lanes", "bulk does not rest", "-math.inf if self._interactive else self._quiet_from", "-math.inf"),
    ("lanes", "callers wait while bulk rests", "-math.inf if self._interactive else self._quiet_from", "self._quiet_from"),
    ("lanes", "bulk counts batches", "self._bulk_passed_over + len(urgent)", "self._bulk_passed_over + 1"),
    ("batcher", "bulk rests at drain", "self._lanes.rests_until > self._loop.time() and not self.door.draining", "self._lanes.rests_until > self._loop.time()"),
    ("lanes", "bulk takes no notice of callers", "if now >= self._company_until:", "if True:"),
    ("lanes", "callers are about for ever", "self._company_until = now + COMPANY_S", "self._company_until = math.inf"),
    ("lanes", "bulk takes all its turn", "max(1, count // 4) if bulk_turn", "count if bulk_turn"),
    ("lanes", "always newest first", "newest_first=newest_first,", "newest_first=True,"),
    ("lanes", "never newest first", "newest_first=newest_first,", "newest_first=False,"),
    ("lanes", "old are never refused", "self._pop_too_old(done_at) if newest_first else []", "[]"),
    ("lanes", "longest instead of shortest wait", "done_at - max(job.arrived", "done_at - min(job.arrived"),
    ("overload", "overload never ends", "self.standing, self._above_since = False, None", "self._above_since = None"),
    ("overload", "a short backlog does not end it", "if backlog_s < GOOD * self.patience_s:", "if backlog_s == 0:"),
    ("batcher", "leavers teach nothing", "self._lanes.overload.left(", "(lambda waited_s: None)("),
    ("batcher", "those who will wait teach impatience", "self._loop.time() < when < math.inf:", "self._loop.time() < when:"),
    ("lanes", "those who will have left go first", "job.arrived + patience_s < done_at", "False"),
    ("lanes", "streams run out of patience", "(job.deadline < math.inf and job.arrived + patience_s", "(job.arrived + patience_s"),
    ("lanes", "bulk runs out of patience", "patience_s: float = math.inf,", "patience_s: float = 2.0,"),
    ("overload", "a lone leaver speaks for all", "max(FEW, self._served * LEAVERS)", "1"),
    ("overload", "the uptime overflows", "min((now - self._looked_at) / RELAX_S, MOST)", "(now - self._looked_at) / RELAX_S"),
    ("lanes", "batches longer than patience", "if newest_first:  #", "if False:  #"),
    ("overload", "patience only falls", "self.patience_s * growth", "self.patience_s"),
    ("door", "the door never closes", "if callers >= (places := self.places):", "if (places := 0):"),
    ("door", "an archive stands at the door", "self._lanes.callers + self._announced[INTERACTIVE]", "self.taken"),
    ("door", "the door believes the first guess", "if not self._pace.is_known:", "if False:"),
    ("door", "the door is not for a full batch", "max(self.max_batch, worth)", "worth"),
    ("overload", "the door knows no time", "DOOR * self.patience_s / item_s", "256"),
    ("overload", "stands at once", "elif now - self._above_since >= self.interval_s:", "else:"),
    ("batcher", "the runner waits for us", "len(self._flights) > 1 or flight.is_repeated or not self.pace.is_known", "True"),
    ("batcher", "the next batch is taken at once", "(1 - AHEAD) * len(", "0 * len("),
    ("batcher", "the runner has a queue", "if len(self._flights) > 1 or", "if"),
    ("batcher", "what is not full is at hand", "if is_full else math.inf)", "if True else math.inf)"),
    ("batcher", "bulk is at hand though it rests", "max(self._nearly_free_at(), self._lanes.rests_until)", "self._nearly_free_at()"),
    ("batcher", "waiting at hand is running", "max(run.started, self._ended)", "run.started"),
    ("batcher", "who is at hand begins at once", "self._free_at(), self.pace", "self._loop.time(), self.pace"),
    ("batcher", "how long it runs counts from its being at hand", "self._flights[0].since = self._loop.time()", "pass"),
    ("batcher", "a dead worker's door stays open", "self.door.is_open = False\n        if not task", "if not task"),
    ("batcher", "others go between the halves", "flight.is_repeated or", ""),
    ("batcher", "a failed run is the next one's time", "began, self._ended = max(run.started, self._ended), run.started + run.seconds", "began = max(run.started, self._ended); self._ended = self._ended if run.error else run.started + run.seconds"),
    ("batcher", "a drained door is open", "self.door.is_open = False  # drained", "pass  # drained"),
    ("batcher", "another runner is measured", "if flight.runner == self.pace.runner:", "if True:"),
    ("lanes", "bulk fills the batch of a caller", "return len(self._interactive) >= count", "return len(self) >= count"),
    ("lanes", "bulk is at hand in company", "return now >= self._company_until and len", "return len"),
    ("pace", "another runner is as fast as the last", "self._measured_s.clear()", "pass"),
]  # fmt: skip


def mutate(folder: Path, module: str, old: str, new: str) -> None:
    """A copy of what the tests need, with one place changed."""
    for name in NEEDED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    (folder / "tests/inference").mkdir(parents=True, exist_ok=True)
    for test in TESTS:
        shutil.copy(ROOT / test, folder / test)
    if not module:
        return
    code = folder / f"service/inference/{module}.py"
    text = code.read_text()
    assert text.count(old) == 1, f"the mutation's place in {module}.py has moved: {old!r} x {text.count(old)}"
    code.write_text(text.replace(old, new))


class Mutants:
    """Copies whose tests are run by mutants.py."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def outcome(self, folder: Path, module: str = "") -> int:
        """pytest's exit code for the batcher's tests in this copy: 0 green, 1 red. The module's own come first."""
        assert self._process.stdin
        assert self._process.stdout
        tests = sorted(TESTS, key=lambda test: f"test_{module}.py" not in test)
        options = ["-x", "-q", "--assert=plain", "-p", "pytest_asyncio.plugin", "-p", "no:cacheprovider"]
        self._process.stdin.write(json.dumps([str(folder), *options, *tests]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def mutants() -> Iterator[Mutants]:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, str(Path(__file__).with_name("mutants.py"))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        yield Mutants(process)


@pytest.mark.slow
def test_the_unchanged_copy_is_green(tmp_path: Path, mutants: Mutants) -> None:
    """Otherwise every mutation would seem caught."""
    mutate(tmp_path, "", "", "")
    assert mutants.outcome(tmp_path) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("module", "name", "old", "new"), MUTATIONS, ids=[m[1] for m in MUTATIONS])
def test_mutation_is_caught(tmp_path: Path, mutants: Mutants, module: str, name: str, old: str, new: str) -> None:
    """The mutated batcher fails its tests, or hangs them."""
    mutate(tmp_path, module, old, new)
    assert mutants.outcome(tmp_path, module) in (1, *HUNG), f"no test notices: {name}"
