"""The sweep's report: what its tables, files and charts hold."""

import csv
import math
from io import StringIO
from xml.etree import ElementTree

import pytest

from perf.charts import BLUES, Point, Scale, Tile, bars, blend, heat_map, ink_on, lines
from perf.report import Result, cells_csv, charts, curves, markdown, visits_csv
from service.tuning.grid import Visit
from service.tuning.load import Arrival, Closed, Load, Open
from service.tuning.setting import Setting
from service.tuning.target import Batches
from service.tuning.verdict import Verdict

REFERENCE = Setting(8, 5)
BATCHES = Batches(24, (("full", 2), ("idle", 1)), ((1.0, 1), (2.0, 1), (4.0, 1), (8.0, 3), (math.inf, 3)))


def result(arrival: Arrival, goal_ms: float = 250) -> Result:
    """Batches of 8 twice as fast as of 1, the window without effect; two visits to each but the reference."""
    rates = {REFERENCE: 100.0, Setting(1, 5): 50.0, Setting(8, 0): 104.0, Setting(8, 20): 100.0}
    order = [REFERENCE, *list(rates)[1:3], REFERENCE, Setting(8, 20), *list(rates)[1:], REFERENCE]
    visits = tuple(
        Visit(setting, Load(500, rates[setting], 8000 / rates[setting], 20000 / rates[setting], 400, 1, {}, 0, BATCHES))
        for setting in order
    )
    return Result("openvino", visits, Verdict.of(visits, REFERENCE, goal_ms, arrival))


RESULTS = [result(Closed(8)), result(Closed(32)), result(Open(60))]


def texts(svg: str) -> list[str]:
    """All that a chart says; it must be well-formed."""
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_cells_csv() -> None:
    """A line per engine, load and setting; one best per load."""
    rows = list(csv.DictReader(StringIO(cells_csv(RESULTS))))
    assert len(rows) == 3 * 4
    assert [(row["load"], row["max_batch"], row["max_wait_ms"]) for row in rows if row["best"] == "1"] == [
        ("8 clients", "8", "0"), ("32 clients", "8", "0"), ("60 pictures/s", "8", "0"),
    ]  # fmt: skip
    assert {row["ratio"] for row in rows if row["max_batch"] == "1"} == {"0.500"}


def test_visits_csv_has_each_as_it_was() -> None:
    """In order, uncorrected, with batches and reasons."""
    rows = list(csv.DictReader(StringIO(visits_csv(RESULTS[:1]))))
    assert [int(row["visit"]) for row in rows] == list(range(1, 10))
    assert [row["max_batch"] for row in rows[:4]] == ["8", "1", "8", "8"]
    assert (rows[1]["per_s"], rows[1]["pictures"], rows[1]["released"]) == ("50.00", "24", "full:2 idle:1")


def test_markdown_names_the_best_by_the_rule_of_tune() -> None:
    """In the table at the top, and in the same sentences."""
    text = markdown("Sweep", {"machine": "2 cores"}, RESULTS)
    assert "| machine | 2 cores |" in text
    assert "| openvino | 32 clients | 8 | 0 | 104.0 | 192 | 1.040 | 250 ms: met |" in text
    assert "- Best for p95 within 250 ms under 32 clients: max_batch 8, max_wait_ms 0 (104.0 pictures/s" in text
    assert "Batching helps: up to +108% pictures/s over max_batch 1" in text
    assert text.count("**best**") == 3
    assert text.count(" reference |") == 3


def test_markdown_when_the_goal_is_missed() -> None:
    """The fastest is named, and that it misses."""
    text = markdown("Sweep", {}, [result(Closed(8), goal_ms=10)])
    assert "10 ms: missed; this is the fastest" in text
    assert "**fastest**, misses the goal" in text
    assert "**best**" not in text


def test_every_chart_in_the_markdown_is_written_and_the_reverse() -> None:
    """Three per load, one curve per kind of loop; each stands beside a table."""
    text, found = markdown("Sweep", {}, RESULTS), charts(RESULTS)
    assert len(found) == 3 * 3 + 2
    assert all(text.count(f"]({name})") == 1 for name in found)
    assert text.count("](") == len(found)


def test_curves_keep_loops_apart_and_go_from_light_to_heavy() -> None:
    """A closed loop's latency does not compare with an open one's."""
    found = curves([RESULTS[1], RESULTS[2], RESULTS[0]])
    assert {key: [item.load for item in group] for key, group in found.items()} == {
        ("openvino", "closed"): ["8 clients", "32 clients"],
        ("openvino", "open"): ["60 pictures/s"],
    }


def test_maps_say_each_figure() -> None:
    """Each cell's, with rows, columns, and how many miss the goal."""
    said = texts(charts([result(Closed(8), goal_ms=193)])["openvino-8-clients-p95.svg"])
    assert {"192", "200", "400", "1", "8", "0", "5", "20"} <= set(said)
    assert said.count("\u00d7") == 3


def test_batches_are_shares() -> None:
    """A third of the batches had one picture, two thirds five to eight; said in the chart and beside it."""
    assert {"1", "5-8"} <= set(texts(charts(RESULTS)["openvino-8-clients-batches.svg"]))
    assert "| 8 | 33% | 67% |" in markdown("Sweep", {}, RESULTS)


def test_charts_survive_what_is_not_finite() -> None:
    """A setting that answered nothing has no latency and no rate; names are escaped."""
    tiles = {("1", "0"): Tile(0, "0.0"), ("2", "0"): Tile(math.inf, "inf", framed=True, missed=True)}
    assert "inf" in texts(heat_map("<a> & b", "", ["1", "2"], ["0"], tiles))
    assert "goal 9 ms" in texts(lines("", "", "x", "y", {"a": [Point(0, math.inf, "all")]}, 9))
    assert texts(bars("", "", {"1": {}}, ["1"]))


@pytest.mark.parametrize(("share", "colour"), [(0, BLUES[0]), (0.5, BLUES[1]), (1, BLUES[2])])
def test_colours_go_through_their_stops(share: float, colour: str) -> None:
    """Light, middle, dark."""
    assert blend(BLUES, share) == colour


@pytest.mark.parametrize("share", [0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 1])
@pytest.mark.parametrize("stops", [BLUES, ("#fff5e6", "#fd9a4d", "#7f2704")])
def test_figures_are_readable_on_every_colour(stops: tuple[str, str, str], share: float) -> None:
    """A contrast of 4.5 : 1 at least, as WCAG 2.2 wants it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    fill = blend(stops, share)
    dark, light = sorted((luminance(fill), luminance(ink_on(fill))))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize(
    ("scale", "ticks", "steps"),
    [(Scale(8, 220), [10, 20, 50, 100, 200], [0, 50, 100, 150, 200]), (Scale(0.5, 6), [0.5, 1, 2, 5], [0, 2, 4, 6])],
)
def test_axes_have_round_values(scale: Scale, ticks: list[float], steps: list[float]) -> None:
    """1, 2, 5 on the logarithmic one; about five steps on the linear one."""
    assert scale.ticks() == ticks
    assert scale.steps() == steps
