"""Charts as SVG text: a heat map, lines, stacked bars. Pure. Each brings its own light background, so that it reads
the same on a dark page; every figure also stands in the report's tables."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

INK, QUIET, RULE, PAPER = "#1f2328", "#59636e", "#d1d9e0", "#ffffff"
BLUES = ("#eff6ff", "#6baed6", "#08306b")
ORANGES = ("#fff5e6", "#fd9a4d", "#7f2704")
DISTINCT = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d00", "#56b4e9", "#000000")  # Okabe and Ito, 2008
FONT = "font-family='system-ui, -apple-system, Segoe UI, DejaVu Sans, sans-serif'"
TILE_W, TILE_H = 92, 46
LEFT, TOP = 96, 90
PLOT_W, PLOT_H = 520, 300
PANEL_H, PANEL_GAP = 56, 24
BAR_W, BAR_H = 520, 30

Place = Callable[[float, float], tuple[float, float]]
"""From values to the point on the paper."""


class Tile(NamedTuple):
    """One cell of a heat map. `framed`: the one to look at. `missed`: it does not meet the goal."""

    value: float
    text: str
    framed: bool = False
    missed: bool = False


class Point(NamedTuple):
    """One point of a line, and what it stands for."""

    x: float
    y: float
    label: str


def heat_map(
    title: str,
    note: str,
    rows: Sequence[str],
    columns: Sequence[str],
    tiles: Mapping[tuple[str, str], Tile],
    colours: tuple[str, str, str] = BLUES,
) -> str:
    """Rows by columns, darker for more, on a logarithmic scale. A row with one tile only is one wide tile."""
    width, height = LEFT + TILE_W * len(columns) + 24, TOP + TILE_H * len(rows) + 52
    scale = Scale.over([tile.value for tile in tiles.values()])
    parts = [*_title(title, note)]
    for y, row in enumerate(rows):
        top = TOP + y * TILE_H
        parts.append(_text(LEFT - 12, top + TILE_H / 2 + 5, row, anchor="end"))
        found = {x: tiles[row, column] for x, column in enumerate(columns) if (row, column) in tiles}
        span = len(columns) if len(found) == 1 else 1
        for x, tile in found.items():
            parts += _tile(LEFT + (0 if span > 1 else x) * TILE_W, top, span * TILE_W, tile, scale, colours)
    foot = TOP + TILE_H * len(rows) + 20
    parts += [_text(LEFT + (x + 0.5) * TILE_W, foot, column, anchor="middle") for x, column in enumerate(columns)]
    parts.append(_text(LEFT + TILE_W * len(columns) / 2, foot + 20, "max_wait_ms", anchor="middle", quiet=True))
    parts.append(_text(LEFT - 12, TOP - 10, "max_batch", anchor="end", quiet=True))
    return _document(width, height, title, parts)


def lines(title: str, note: str, x_name: str, y_name: str, series: Mapping[str, Sequence[Point]], mark: float) -> str:
    """Lines on a linear x from 0 and a logarithmic y, named beside their last points; `mark` is a dashed level."""
    points = [point for line in series.values() for point in line if math.isfinite(point.y)]
    across = Scale(0, 1.08 * max((point.x for point in points), default=1))
    up = Scale.over([mark, *(point.y for point in points)])

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + across.linear(x) * PLOT_W, TOP + (1 - up.logarithmic(y)) * PLOT_H

    parts = [*_title(title, note), *_axes(across, up, place, x_name, y_name)]
    level = place(0, mark)[1]
    parts.append(
        f"<path d='M{LEFT} {level:.1f}H{LEFT + PLOT_W}' stroke='{INK}' stroke-width='1.5' stroke-dasharray='6 5'/>"
    )
    parts.append(_text(LEFT + 8, level - 6, f"goal {mark:g} ms"))
    ends = []
    for colour, (name, line) in zip(_cycle(), series.items(), strict=False):
        places = [(*place(point.x, point.y), point) for point in line if math.isfinite(point.y)]
        parts += _line(places, name, colour)
        ends += [(places[-1][1], name, colour)] if places else []
    parts += _names(LEFT + PLOT_W + 14, ends)
    return _document(LEFT + PLOT_W + 150, TOP + PLOT_H + 62, title, parts)


def bars(title: str, note: str, rows: Mapping[str, Mapping[str, float]], kinds: Sequence[str]) -> str:
    """Each row as one bar of the shares of its kinds, which must sum to 1 or be empty."""
    parts = [*_title(title, note)]
    for y, (row, shares) in enumerate(rows.items()):
        top, left = TOP + y * (BAR_H + 10), float(LEFT)
        parts.append(_text(LEFT - 12, top + BAR_H / 2 + 5, row, anchor="end"))
        for place, kind in enumerate(kinds):
            wide = shares.get(kind, 0) * BAR_W
            fill = blend(BLUES, (place + 1) / len(kinds))
            if wide:
                parts.append(_box(left, top, wide, BAR_H, fill, f"{kind}: {shares[kind]:.0%}"))
            if wide > 9 * len(kind) + 6:
                parts.append(_text(left + wide / 2, top + BAR_H / 2 + 5, kind, anchor="middle", fill=ink_on(fill)))
            left += wide
    foot = TOP + len(rows) * (BAR_H + 10) + 14
    parts.append(_text(LEFT, foot, "0 %", quiet=True))
    parts.append(_text(LEFT + BAR_W, foot, "100 % of the batches", anchor="end", quiet=True))
    parts.append(_text(LEFT - 12, TOP - 10, "max_batch", anchor="end", quiet=True))
    return _document(LEFT + BAR_W + 24, foot + 18, title, parts)


def panels(title: str, note: str, x_name: str, rows: Mapping[str, Sequence[Point]], since: float) -> str:
    """One below the other, each on a linear scale of its own from its least to its greatest value; what is before
    `since` is shaded."""
    across = Scale(0, max((point.x for row in rows.values() for point in row), default=0) or 1)
    parts, foot = [*_title(title, note)], TOP + len(rows) * (PANEL_H + PANEL_GAP) - PANEL_GAP
    shaded = across.linear(since) * PLOT_W
    parts.append(_box(LEFT, TOP, shaded, foot - TOP, "#f3f5f7", "warm-up"))
    for number, (name, row) in enumerate(rows.items()):
        top = TOP + number * (PANEL_H + PANEL_GAP)
        low, high = min((point.y for point in row), default=0), max((point.y for point in row), default=0)
        up = Scale(low, high if high > low else low + 1)
        places = [f"{LEFT + across.linear(x) * PLOT_W:.1f} {top + (1 - up.linear(y)) * PANEL_H:.1f}" for x, y, _ in row]
        parts.append(f"<path d='M{LEFT} {top + PANEL_H}H{LEFT + PLOT_W}' stroke='{RULE}'/>")
        if places:
            parts.append(f"<path d='M{'L'.join(places)}' fill='none' stroke='{DISTINCT[0]}' stroke-width='1.5'/>")
        parts.append(_text(LEFT - 10, top + 12, f"{high:g}", anchor="end"))
        parts.append(_text(LEFT - 10, top + PANEL_H, f"{low:g}", anchor="end"))
        parts.append(_text(LEFT + PLOT_W + 14, top + PANEL_H / 2 + 5, name))
    parts += [_text(LEFT + across.linear(x) * PLOT_W, foot + 20, f"{x:g}", anchor="middle") for x in across.steps()]
    parts.append(_text(LEFT + PLOT_W / 2, foot + 42, x_name, anchor="middle", quiet=True))
    return _document(LEFT + PLOT_W + 170, foot + 62, title, parts)


class Scale(NamedTuple):
    """A range of values, mapped to 0..1."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Sequence[float]) -> "Scale":
        """From the least to the greatest of those above 0, with some room when they are close together."""
        sound = [value for value in values if 0 < value < math.inf] or [1.0]
        return cls(min(sound) / 1.05, max(sound) * 1.05)

    def linear(self, value: float) -> float:
        """Equal steps for equal differences."""
        return (value - self.low) / (self.high - self.low)

    def logarithmic(self, value: float) -> float:
        """Equal steps for equal ratios; what lies outside is at the edge."""
        inside = min(max(value, self.low), self.high)
        return math.log(inside / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[float]:
        """1, 2 and 5 times the powers of ten within the range."""
        powers = range(math.floor(math.log10(max(self.low, 1e-3))), math.ceil(math.log10(self.high)) + 1)
        return [
            step * 10.0**power for power in powers for step in (1, 2, 5) if self.low <= step * 10.0**power <= self.high
        ]

    def steps(self) -> list[float]:
        """About five round values from 0 on."""
        rough = self.high / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough)
        return [step * n for n in range(int(self.high / step) + 1)]


def blend(stops: tuple[str, str, str], share: float) -> str:
    """The colour at 0..1 along three of them."""
    low, high = (stops[0], stops[1]) if share < 0.5 else (stops[1], stops[2])
    part = share * 2 if share < 0.5 else share * 2 - 1
    mixed = (round(a + (b - a) * part) for a, b in zip(_rgb(low), _rgb(high), strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def ink_on(colour: str) -> str:
    """Black or white, whichever contrasts more: at least 4.5 : 1 (relative luminance as in WCAG 2.2)."""
    linear = [(c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4) for c in _rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else PAPER


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _cycle() -> Iterator[str]:
    while True:
        yield from DISTINCT


def _tile(
    left: float, top: float, wide: float, tile: Tile, scale: Scale, colours: tuple[str, str, str]
) -> Iterator[str]:
    fill = blend(colours, scale.logarithmic(tile.value))
    yield _box(left + 1, top + 1, wide - 2, TILE_H - 2, fill, tile.text)
    ink = ink_on(fill)
    if tile.missed:
        yield _text(left + wide - 9, top + 18, "\u00d7", anchor="end", fill=ink)
    if tile.framed:  # two frames: one of them shows on any colour
        for inset, colour, stroke in ((2.5, INK, 3), (5, PAPER, 2)):
            yield (
                f"<rect x='{left + inset:g}' y='{top + inset:g}' width='{wide - 2 * inset:g}' "
                f"height='{TILE_H - 2 * inset:g}' fill='none' stroke='{colour}' stroke-width='{stroke}'/>"
            )
    yield (
        f"<text x='{left + wide / 2:g}' y='{top + TILE_H / 2 + 5:g}' text-anchor='middle' fill='{ink}' "
        f"font-weight='{600 if tile.framed else 400}'>{escape(tile.text)}</text>"
    )


def _line(places: Sequence[tuple[float, float, Point]], name: str, colour: str) -> Iterator[str]:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in places)
    if len(places) > 1:
        yield f"<path d='M{path}' fill='none' stroke='{colour}' stroke-width='2'/>"
    for x, y, point in places:
        told = escape(f"{name}, {point.label}: {point.x:.1f}/s, {point.y:.0f} ms")
        yield f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4' fill='{colour}'><title>{told}</title></circle>"


def _names(left: float, ends: Sequence[tuple[float, str, str]]) -> Iterator[str]:
    """Names at the heights where their lines end, moved down where they would overlap."""
    free = -math.inf
    for y, name, colour in sorted(ends):
        free = max(free + 17, y + 5)
        yield f"<circle cx='{left:g}' cy='{free - 4.5:.1f}' r='4' fill='{colour}'/>"
        yield _text(left + 10, free, name)


def _axes(across: Scale, up: Scale, place: Place, x_name: str, y_name: str) -> Iterator[str]:
    for value in up.ticks():
        y = place(0, value)[1]
        yield f"<path d='M{LEFT} {y:.1f}H{LEFT + PLOT_W}' stroke='{RULE}'/>"
        yield _text(LEFT - 10, y + 5, f"{value:g}", anchor="end")
    foot = TOP + PLOT_H
    for value in across.steps():
        x = place(value, up.low)[0]
        yield f"<path d='M{x:.1f} {foot}v5' stroke='{QUIET}'/>"
        yield _text(x, foot + 20, f"{value:g}", anchor="middle")
    yield f"<path d='M{LEFT} {foot}H{LEFT + PLOT_W}' stroke='{QUIET}'/>"
    yield _text(LEFT + PLOT_W / 2, foot + 42, x_name, anchor="middle", quiet=True)
    yield _text(LEFT - 10, TOP - 12, y_name, anchor="end", quiet=True)


def _title(title: str, note: str) -> list[str]:
    return [
        f"<text x='20' y='30' font-size='16' font-weight='600' fill='{INK}'>{escape(title)}</text>",
        _text(20, 50, note, quiet=True),
    ]


def _box(left: float, top: float, wide: float, high: float, fill: str, told: str) -> str:
    place = f"x='{left:.1f}' y='{top:.1f}' width='{wide:.1f}' height='{high:.1f}'"
    return f"<rect {place} fill='{fill}'><title>{escape(told)}</title></rect>"


def _text(x: float, y: float, text: str, *, anchor: str = "start", quiet: bool = False, fill: str = INK) -> str:
    colour = QUIET if quiet else fill
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' fill='{colour}'>{escape(text)}</text>"


def _document(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:g} {height:g}' width='{width:g}' "
            f"height='{height:g}' role='img' aria-label='{escape(title)}' {FONT} font-size='13'>",
            f"<rect x='.5' y='.5' width='{width - 1:g}' height='{height - 1:g}' rx='8' fill='{PAPER}' "
            f"stroke='{RULE}'/>",
            *parts,
            "</svg>\n",
        ]
    )
