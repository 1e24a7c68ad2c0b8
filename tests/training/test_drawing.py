"""What charts are made of."""

import pytest
from markupsafe import Markup

from service.training.drawing import Plane, clipped, element, ticks


@pytest.mark.parametrize(
    ("highest", "marks"),
    [
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (7, [0, 2, 4, 6, 8]),
        (0.03, [0, 0.01, 0.02, 0.03]),
        (100, [0, 20, 40, 60, 80, 100]),
        (101, [0, 25, 50, 75, 100, 125]),
        (49_999, [0, 10_000, 20_000, 30_000, 40_000, 50_000]),
    ],
)
def test_graduations_are_round(highest: float, marks: list[float]) -> None:
    """From 0 to the first mark that has the highest value below it, few of them."""
    assert list(ticks(highest)) == pytest.approx(marks)


def test_a_plane_has_its_origin_below() -> None:
    """SVG counts from the top."""
    plane = Plane((0, 10), (0, 1), left=40, right=240, top=10, bottom=110)
    assert (plane.x(0), plane.x(5), plane.y(0), plane.y(1)) == (40, 140, 110, 10)


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("cat", "cat"),
        ("golden_ret", "golden ret"),
        ("golden_retriever", "golden re…"),
        ("a_very long", "a very lo…"),
        ("金魚金魚金", "金魚金魚金"),
        ("金魚金魚金魚", "金魚金魚…"),
    ],
)
def test_long_names_are_cut(label: str, shown: str) -> None:
    """At ten letters' width, said as a person writes them."""
    assert clipped(label, 10) == shown


def test_an_element_escapes_what_is_text() -> None:
    """In its attributes and in between; what is markup stays."""
    found = element("text", "<b>", Markup("<tspan/>"), x=1.26, y=2.0, class_='a"b', text_anchor="end")
    assert found == '<text x="1.3" y="2" class="a&#34;b" text-anchor="end">&lt;b&gt;<tspan/></text>'
