"""The charts: sound SVG, the same figures in the table, nothing that a page's policy would block."""

from pathlib import Path
from xml.etree import ElementTree

import jinja2
import pytest

from service.training.charts import charts, curves
from service.training.class_charts import BARS, MISTAKES, confusion
from service.training.drawing import Chart
from service.training.report import Report, percent
from tests.training.reports import a_report, epochs

WEB = Path(__file__).parents[2] / "web"
HOSTILE = ('<script>alert(1)</script>"', "a&b'</svg>", "{{ 7*7 }}", "金魚")


@pytest.fixture(scope="module")
def report() -> Report:
    return a_report()


@pytest.fixture(scope="module")
def drawn(report: Report) -> dict[str, Chart]:
    return {chart.name: chart for chart in charts(report)}


@pytest.fixture(scope="module")
def hostile() -> list[Chart]:
    """Of class names that try to be more."""
    return charts(a_report(HOSTILE), lambda truth, label: f'/pictures?truth={truth}&label={label}"')


def elements(chart: Chart) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(chart.svg).iter())


def test_every_chart_is_there(drawn: dict[str, Chart]) -> None:
    """In the order in which one reads them."""
    assert list(drawn) == ["loss", "accuracy", "confusion", "classes", "reliability", "confidences", "distribution"]


def test_a_chart_has_a_title_and_a_description(drawn: dict[str, Chart]) -> None:
    """A screen reader hears one picture with both, and finds the figures in the table."""
    for chart in drawn.values():
        svg, title, description, *_ = elements(chart)
        assert svg.get("role") == "img"
        assert (title.tag, title.text) == ("title", chart.title)
        assert (description.tag, description.text) == ("desc", chart.words)
        assert {len(row) for row in chart.rows} == {len(chart.head)}


def test_only_classes_that_the_style_sheet_has(drawn: dict[str, Chart]) -> None:
    """A colour comes from app.css, so that it fits the light; an attribute with style would be blocked."""
    css = (WEB / "static/app.css").read_text()
    for chart in drawn.values():
        for element in elements(chart):
            assert {"style", "fill", "stroke", "onclick"}.isdisjoint(element.keys())
            for name in element.get("class", "").split():
                assert f".{name}" in css, name


def test_names_of_classes_stay_text(hostile: list[Chart]) -> None:
    """Each chart is sound XML with no element of theirs, in the picture and in the table's links."""
    allowed = {"svg", "title", "desc", "text", "rect", "line", "polyline", "circle", "a"}
    for chart in hostile:
        assert {element.tag for element in elements(chart)} <= allowed
        assert not any("<script" in cell for row in chart.rows for cell in row if hasattr(cell, "__html__"))


def test_a_page_shows_the_figure_and_its_table(hostile: list[Chart]) -> None:
    """The template escapes what is text and keeps what is drawn."""
    env = jinja2.Environment(loader=jinja2.FileSystemLoader(WEB / "templates"), autoescape=True)
    page = env.from_string('{% from "_charts.html" import figure %}{% for c in charts %}{{ figure(c) }}{% endfor %}')
    html = page.render(charts=hostile)
    assert html.count("<figure") == html.count('role="img"') == len(hostile)
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert " style=" not in html


def test_the_tables_have_the_figures(report: Report, drawn: dict[str, Chart]) -> None:
    """Of every epoch, class, set and bin."""
    last = report.epochs[-1]
    assert drawn["loss"].rows[-1] == ("11", "fine-tuning", f"{last.loss:.3f}", f"{last.val_loss:.3f}")
    worst = min(report.test.classes, key=lambda found: found.f1)
    assert drawn["classes"].rows[0][-1] == percent(worst.f1)
    first = report.classes[0]
    assert drawn["distribution"].rows[0] == ("airplane", str(first.train), str(first.validation), str(first.test))
    filled = [found for found in report.test.calibration.bins if found.pictures]
    assert [row[1] for row in drawn["reliability"].rows] == [str(found.pictures) for found in filled]
    assert sum(int(row[1]) + int(row[2]) for row in drawn["confidences"].rows if isinstance(row[1], str)) == 80


def test_mistakes_lead_to_their_pictures(report: Report) -> None:
    """By the table, for the keyboard, and by the cells, which are no stop of the tab key."""
    chart = confusion(report.test.matrix, lambda truth, label: f"/pictures?truth={truth}&label={label}")
    links = [element for element in elements(chart) if element.tag == "a"]
    assert len(links) == len(report.test.matrix.cells)
    assert {link.get("tabindex") for link in links} == {"-1"}
    _, label, count = chart.rows[0]
    assert 'href="/pictures?truth=' in count
    assert f'label={label}">'.replace(" ", "_") in count


def test_the_commonest_mistake_is_told(report: Report) -> None:
    """In words, and first in the table."""
    chart = confusion(report.test.matrix)
    truth, label, count = chart.rows[0]
    wrong = report.test.pictures - report.test.accuracy.hits
    assert chart.words.endswith(f"The commonest mistake: {truth} taken for {label}, {count} of {wrong}.")


def test_many_classes_leave_some_out() -> None:
    """And say which; those that do worst are there, and the matrix takes the page's width."""
    found = {chart.name: chart for chart in charts(a_report([f"kind_{number}" for number in range(120)], 3000))}
    assert found["classes"].left_out == f"The chart has the {BARS} lowest of 120 classes; the table has all."
    assert len(found["distribution"].rows) == 120
    means = [float(str(row[-1]).removesuffix("\N{NO-BREAK SPACE}%")) for row in found["classes"].rows]
    assert means == sorted(means)
    assert len(found["confusion"].rows) <= MISTAKES
    assert "70 classes with fewer mistakes are left out." in found["confusion"].left_out
    assert found["confusion"].wide


@pytest.mark.parametrize(("head", "fine_tuning"), [(1, 0), (2, 0), (3, 1), (40, 60), (0, 2)])
def test_curves_of_any_length(head: int, fine_tuning: int) -> None:
    """From the first epoch on, while the run goes on."""
    loss, accuracy = curves(epochs(head, fine_tuning))
    for chart in (loss, accuracy):
        lines = [element.get("points", "").split() for element in elements(chart) if element.tag == "polyline"]
        assert [len(points) for points in lines] == [head + fine_tuning] * 2
        assert "nan" not in chart.svg
    assert ("fine-tuning" in loss.svg) is (head > 0 and fine_tuning > 0)


def test_without_epochs_there_are_no_curves() -> None:
    """A run that has just begun."""
    assert curves([]) == []


def test_a_loss_that_is_no_number_is_left_out() -> None:
    """A run that diverged has a chart all the same."""
    bad = epochs(3, 0)[:2] + tuple(epoch.model_copy(update={"loss": float("inf")}) for epoch in epochs(1, 0))
    loss = curves(bad)[0]
    points = [element.get("points", "").split() for element in elements(loss) if element.tag == "polyline"]
    assert [len(found) for found in points] == [2, 3]


def test_the_temperature_shows_before_and_after(report: Report) -> None:
    """Dots where it was; none when nothing was changed."""
    plain = report.model_copy(update={"temperature": report.temperature.model_copy(update={"applied": False})})
    with_dots, without = (
        sum(
            element.tag == "circle"
            for element in elements({chart.name: chart for chart in charts(found)}["reliability"])
        )
        for found in (report, plain)
    )
    assert report.temperature.applied
    assert with_dots == sum(found.pictures > 0 for found in report.uncalibrated.bins)
    assert without == 0
