"""perf/shapes.py: how many users when. That Locust obeys is in test_locustfile.py."""

import importlib
from importlib.util import find_spec
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="Locust is not installed: pip install -e '.[load]'")


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, in this process: Locust must not put gevent under our sockets."""
    monkeypatch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    return importlib.import_module("perf.shapes")


@pytest.mark.parametrize(
    ("shape", "hold_s", "stages"),
    [
        ("steps", 0.0, [(10, 60.0), (50, 60.0), (25, 60.0)]),
        ("steps", 5.0, [(10, 5.0), (50, 5.0), (25, 5.0)]),
        ("spike", 0.0, [(10, 60.0), (50, 60.0), (10, 60.0)]),
        ("soak", 0.0, [(50, 1800.0)]),
        ("soak", 90.0, [(50, 90.0)]),
    ],
)
def test_the_plan_of_each_shape(shapes: Any, shape: str, hold_s: float, stages: list[tuple[int, float]]) -> None:
    """Steps climbs the levels as given, spike goes from the lowest to the highest and back, soak holds the highest."""
    assert shapes.plan(shape, [10, 50, 25], hold_s) == stages


@pytest.mark.parametrize(("at_s", "users"), [(0, 10), (4.9, 10), (5, 50), (7.9, 50), (8, None), (100, None)])
def test_a_stage_lasts_its_seconds_and_after_the_last_it_is_over(shapes: Any, at_s: float, users: int | None) -> None:
    """Stages follow one another; None is Locust's word for the end."""
    assert shapes.users_at(at_s, [(10, 5.0), (50, 3.0)]) == users


@pytest.mark.parametrize("text", ["", "10,x", "0,10", "-5"])
def test_levels_that_are_none_are_refused(shapes: Any, text: str) -> None:
    """A level is a whole number of users, at least one."""
    with pytest.raises(ValueError, match=r"level|invalid literal"):
        shapes.levels_of(text)
