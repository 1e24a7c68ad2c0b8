"""How many users there are when: steps, spike, soak. Loaded beside the users, in Locust's page as well as headless.

    .venv/bin/locust -f perf/locustfile.py,perf/shapes.py --headless --shape steps ReferenceA
    .venv/bin/locust -f perf/locustfile.py,perf/shapes.py --headless --shape spike --levels 8,200 --hold 30 Json
    .venv/bin/locust -f perf/locustfile.py,perf/shapes.py --headless --shape soak --levels 32 Json Stream Page Feedback

Locust runs the first shape class it finds, and only its page with --class-picker lets one choose among several: so
there is one class here, and `--shape` (a field of the page's form as well) chooses. Shapes make up their own mind
about users and duration: Locust's -u, -r and -t do nothing beside them. The run ends with its shape.
"""
# mypy: disable-error-code="misc, untyped-decorator"
# (Locust has no types that mypy --strict could follow)

import argparse
from itertools import accumulate
from typing import Any

from locust import LoadTestShape, events

SHAPES = ("steps", "spike", "soak")
HOLD_S = 60.0
SOAK_S = 30 * 60.0
COME_PER_S = 10.0  # users; but the crowd of a spike comes within a second


def levels_of(text: str) -> list[int]:
    """`10,25,50,100` -> numbers of users. Raises ValueError."""
    levels = [int(level) for level in text.split(",")]
    if min(levels) < 1:
        raise ValueError("a level is at least one user")
    return levels


def plan(shape: str, levels: list[int], hold_s: float) -> list[tuple[int, float]]:
    """(users, seconds) one after another. `hold_s` 0 is the shape's own: 60 s a level, 30 minutes of soak."""
    low, high = min(levels), max(levels)
    if shape == "soak":
        return [(high, hold_s or SOAK_S)]
    return [(level, hold_s or HOLD_S) for level in ([low, high, low] if shape == "spike" else levels)]


def users_at(at_s: float, stages: list[tuple[int, float]]) -> int | None:
    """How many there should be; None when it is over."""
    ends = accumulate(seconds for _, seconds in stages)
    return next((users for (users, _), end in zip(stages, ends, strict=True) if at_s < end), None)


def _levels(text: str) -> str:
    try:
        levels_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"numbers of users with commas between, like 10,25,50 ({error})") from error
    return text  # options travel to Locust's page and to its worker processes: plain types only


@events.init_command_line_parser.add_listener
def options(parser: Any) -> None:
    """Ours beside Locust's. They stand in its page too."""
    add = parser.add_argument
    add("--shape", choices=SHAPES, default="steps", help="Climb the levels; jump from lowest to highest; hold highest.")
    add("--levels", type=_levels, default="10,25,50,100", help="Numbers of users.")
    add("--hold", type=float, default=0.0, help="Seconds at each level; 0: 60, and 30 minutes of soak.")


class Shape(LoadTestShape):
    """The one that was chosen."""

    def tick(self) -> tuple[int, float] | None:
        given = self.runner.environment.parsed_options
        users = users_at(self.get_run_time(), plan(given.shape, levels_of(given.levels), given.hold))
        if users is None:
            return None
        return users, float(users) if given.shape == "spike" else COME_PER_S
