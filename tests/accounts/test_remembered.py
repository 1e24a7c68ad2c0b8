"""What is remembered: for so long, and so many."""

from service.accounts.remembered import Remembered


def test_it_is_forgotten_after_its_time() -> None:
    """Counted from when it was put there last."""
    now = 100.0
    names = Remembered[int, str](2, 5.0, lambda: now)
    names.put(1, "one")
    now = 104.9
    assert names.get(1) == "one"
    names.put(1, "uno")
    now = 109.8
    assert names.get(1) == "uno"
    now = 109.9
    assert names.get(1) is None


def test_the_first_makes_room() -> None:
    """Who is put there again is the latest."""
    names = Remembered[int, str](2, 5.0, lambda: 0.0)
    for key in (1, 2, 1, 3):
        names.put(key, str(key))
    assert [names.get(key) for key in (1, 2, 3)] == ["1", None, "3"]


def test_clear_forgets_all() -> None:
    """At once."""
    names = Remembered[int, str](2, 5.0, lambda: 0.0)
    names.put(1, "one")
    names.clear()
    assert names.get(1) is None
