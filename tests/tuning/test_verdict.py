"""What is said about what was met."""

import pytest

from service.tuning.grid import Visit
from service.tuning.load import Arrival, Closed, Open
from service.tuning.setting import Setting
from service.tuning.verdict import Verdict, lighter, sentences
from tests.tuning.loads import load

ONE, EIGHT, SIXTEEN = Setting(1, 5), Setting(8, 5), Setting(16, 5)


def verdict(one: tuple[float, float], eight: tuple[float, float], goal_ms: float = 250, late: int = 0) -> Verdict:
    """Of a search in which the reference was max_batch 16 with 100 pictures/s and a p95 of 240 ms."""
    reference = Visit(SIXTEEN, load(100, 240, late=late))
    visits = [reference, Visit(ONE, load(*one)), Visit(EIGHT, load(*eight)), reference]
    return Verdict.of(visits, SIXTEEN, goal_ms, Closed(32))


@pytest.mark.parametrize(
    ("one", "eight", "goal_ms", "chosen", "words"),
    [
        ((50, 240), (130, 200), 250, EIGHT, "Best for p95 within 250 ms under 32 clients: max_batch 8"),
        ((50, 240), (130, 200), 250, EIGHT, "+30% pictures/s against max_batch 16, max_wait_ms 5"),
        ((50, 240), (130, 200), 250, EIGHT, "Batching helps: up to +160% pictures/s over max_batch 1"),
        ((50, 240), (60, 240), 250, SIXTEEN, "max_batch 16, max_wait_ms 5, as it was"),
        ((99, 240), (98, 240), 250, ONE, "Batching does not help here: max_batch 1 is as good"),
        ((99, 240), (98, 240), 250, ONE, "the best batch gives +1% (differences up to 3% may be chance)"),
        ((60, 100), (130, 300), 150, ONE, "Batching gives up to +117% pictures/s, but not within the goal"),
        ((100, 400), (100, 100), 250, EIGHT, "Batching gives no more pictures/s here (+0%"),
        ((50, 240), (130, 200), 100, EIGHT, "No setting keeps p95 within 100 ms under 32 clients. The fastest: max_b"),
    ],
)  # fmt: skip
def test_sentences(
    one: tuple[float, float], eight: tuple[float, float], goal_ms: float, chosen: Setting, words: str
) -> None:
    """The answer, what batching is worth, and when nothing meets the goal."""
    found = verdict(one, eight, goal_ms)
    assert found.chosen.setting == chosen
    assert words in " ".join(sentences(found))


def test_best_only_when_the_goal_is_met() -> None:
    """Else there is a fastest one and no best."""
    assert verdict((50, 240), (130, 200), 100).best is None


def test_a_load_that_was_not_kept_is_doubted() -> None:
    """Pictures sent late are said; a few are not."""
    assert "sent late" in " ".join(sentences(verdict((50, 240), (130, 200), late=50)))
    assert "sent late" not in " ".join(sentences(verdict((50, 240), (130, 200), late=1)))


@pytest.mark.parametrize(
    ("arrival", "ratio", "expected"),
    [
        (Closed(32), 0.25, [8, 4, 2, 1]),
        (Closed(32), 0.99, [31, 15, 7, 3, 1]),
        (Closed(32), 0.001, [1]),
        (Closed(1), 0.5, []),
        (Open(40), 0.5, [20, 10, 5, 2.5]),
    ],
)
def test_lighter_loads(arrival: Arrival, ratio: float, expected: list[float]) -> None:
    """Fewer clients in proportion to the goal, then halves; rates in halves."""
    assert [lower.weight for lower in lighter(arrival, ratio)] == expected
