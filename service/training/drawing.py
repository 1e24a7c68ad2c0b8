"""Charts as SVG: elements, axes, and the value that a page shows. Colours are classes; app.css has them. Pure."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import floor, log10

from markupsafe import Markup, escape

WIDTH = 360.0
"""Units; a page shows one as about a pixel, so that text keeps its size."""
Figure = float | str | Markup


@dataclass(frozen=True)
class Chart:
    """A picture and the same as a table. `words`: what to see in it. `head`, `rows`: the table, row headers first;
    `left_out`: what neither shows, as a sentence. `wide`: it wants the width of the page."""

    name: str
    title: str
    words: str
    svg: Markup
    head: tuple[str, ...]
    rows: tuple[tuple[str | Markup, ...], ...]
    left_out: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Plane:
    """Where values lie: x from left to right over `across`, y from bottom to top over `up`."""

    across: tuple[float, float]
    up: tuple[float, float]
    left: float = 44
    right: float = 350
    top: float = 34
    bottom: float = 184

    def x(self, value: float) -> float:
        """Units from the left."""
        low, high = self.across
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Units from the top."""
        low, high = self.up
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def axes(self, across: Iterable[tuple[float, str]], up: Iterable[tuple[float, str]], name: str) -> Markup:
        """Graduations with their words, and below what runs across."""
        return join(
            *(self._rule(value, words) for value, words in up),
            *(text(words, self.x(value), self.bottom + 17, anchor="middle") for value, words in across),
            text(name, self.right, self.bottom + 34, anchor="end"),
        )

    def line(self, points: Iterable[tuple[float, float]], kind: str) -> Markup:
        """Through the points."""
        places = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return element("polyline", points=places, class_=kind)

    def column(self, low: float, high: float, bottom: float, top: float, kind: str, words: str) -> Markup:
        """A bar over (low, high), with a gap beside it; `words` are told to who points at it."""
        x, y = self.x(low) + 0.75, self.y(top)
        size = {"width": self.x(high) - x - 0.75, "height": self.y(bottom) - y}
        return element("rect", element("title", words), x=x, y=y, class_=kind, **size)

    def _rule(self, value: float, words: str) -> Markup:
        y = self.y(value)
        rule = element("line", x1=self.left, x2=self.right, y1=y, y2=y, class_="rule")
        return rule + text(words, self.left - 6, y + 4, anchor="end")


def drawing(title: str, description: str, height: float, *parts: Markup, width: float = WIDTH) -> Markup:
    """The whole picture. A screen reader hears title and description; the table beside has the figures."""
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *parts,
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
        class_="chart",
    )


def element(name: str, *children: str | Markup, **attributes: Figure) -> Markup:
    """`class_` and `text_anchor` are the attributes class and text-anchor; numbers are rounded to a tenth."""
    shown = "".join(f' {_attribute(key)}="{escape(_short(value))}"' for key, value in attributes.items())
    return Markup(f"<{name}{shown}>{''.join(escape(child) for child in children)}</{name}>")


def join(*parts: Markup) -> Markup:
    """One after another."""
    return Markup("").join(parts)


def text(words: str, x: float, y: float, *, anchor: str = "start", kind: str = "") -> Markup:
    """`anchor`: which of its ends is at x."""
    extra = {"class_": kind} if kind else {}
    return element("text", words, x=x, y=y, text_anchor=anchor, **extra)


def legend(keys: Sequence[tuple[str, str]], x: float = 44) -> Markup:
    """A swatch and its word for each (class, word), in a line at the top."""
    parts = []
    for kind, words in keys:
        parts += [element("rect", x=x, y=6, width=10, height=10, rx=2, class_=kind), text(words, x + 15, 15)]
        x += 15 + 6.2 * width(words) + 14
    return join(*parts)


def ticks(highest: float, most: int = 5) -> Iterator[float]:
    """Round values from 0 to the first that is not below `highest` > 0, at most `most` steps."""
    rough = highest / most
    power = 10 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    for count in range(most + 1):
        yield count * step
        if count * step >= highest * (1 - 1e-9):
            return


def said(label: str) -> str:
    """`golden_retriever` as a person writes it."""
    return label.replace("_", " ")


def clipped(label: str, most: int) -> str:
    """Said, at most so wide."""
    shown = said(label)
    if width(shown) <= most:
        return shown
    while width(shown) >= most:
        shown = shown[:-1]
    return f"{shown.rstrip()}…"


def width(words: str) -> int:
    """In letters; those of East Asia are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in words)


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _short(value: Figure) -> str | Markup:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
