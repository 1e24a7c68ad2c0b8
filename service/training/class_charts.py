"""The charts that have a mark for each class: how many pictures, how good, what was taken for what. Pure."""

from collections.abc import Callable, Sequence
from math import ceil

from markupsafe import Markup

from service.counting import counted
from service.training.drawing import (
    WIDTH,
    Chart,
    Plane,
    clipped,
    drawing,
    element,
    join,
    legend,
    said,
    text,
    ticks,
    width,
)
from service.training.evaluation import Cell, ClassFigures, Evaluation, Matrix
from service.training.report import ClassCount, percent

BARS = 20
"""Classes in a chart of bars; its table has all."""
MISTAKES = 100
"""Rows of the confusion matrix's table, the commonest first."""
LINE = 24.0
"""Units from one class's bar to the next."""
LETTERS, LETTER = 18, 6.2
"""Of a class's name, and how wide one is in the mean."""
DIGIT = 7.0
"""Units; a cell has its number where it has room for it."""
HEATS = 5
"""Shades of a cell, by its share of its row."""
SETS, SET_WORDS = ("train", "validation", "test"), ("training", "validation", "test")

Link = Callable[[str, str], str]
"""(true class, first guess) -> the address where these pictures are shown."""


def distribution(classes: Sequence[ClassCount]) -> Chart:
    """How many pictures of each class are in each set."""
    totals = {found.label: sum(_counts(found)) for found in classes}
    shown = sorted(classes, key=lambda found: -totals[found.label])[:BARS]
    marks = list(ticks(max(totals.values()), 4))
    plane = _lines([found.label for found in shown], marks[-1], top=26, right=WIDTH - 16)
    bars = []
    for place, found in enumerate(shown):
        bars.append(_name(plane, place, found.label))
        start = 0
        for kind, count in zip(SETS, _counts(found), strict=True):
            bars.append(_bar(plane, place, start, start + count, kind, f"{said(found.label)}, {kind}: {count:,}"))
            start += count
    least, most = min(totals.values()), max(totals.values())
    all_there_are = counted(sum(totals.values()), "picture")
    title, words = "Pictures of each class", f"{all_there_are}; a class has {_range(least, most)}."
    return Chart(
        "distribution",
        title,
        words,
        drawing(
            title,
            words,
            plane.bottom + 26,
            legend([(kind, words) for kind, words in zip(SETS, SET_WORDS, strict=True)], 8),
            _grid(plane, [(mark, f"{mark:,g}") for mark in marks]),
            *bars,
        ),
        ("Class", *(words.capitalize() for words in SET_WORDS)),
        tuple((said(found.label), *(f"{count:,}" for count in _counts(found))) for found in classes),
        _left_out(len(classes), "largest"),
    )


def class_bars(evaluation: Evaluation) -> Chart:
    """F1 of each class, the worst first."""
    classes = sorted(evaluation.classes, key=lambda found: found.f1)
    shown = classes[:BARS]
    plane = _lines([found.label for found in shown], 1, top=4, right=WIDTH - 60)
    bars = []
    for place, found in enumerate(shown):
        middle = plane.top + (place + 0.5) * LINE
        bars += [
            _name(plane, place, found.label),
            _bar(plane, place, 0, 1, "rail", ""),
            _bar(plane, place, 0, found.f1, "score", f"{said(found.label)}: F1 {percent(found.f1)}"),
            text(percent(found.f1), WIDTH - 2, middle + 4, anchor="end"),
        ]
    title, worst = "F1 of each class", classes[0]
    words = f"{percent(evaluation.f1)} in the mean; the lowest is {percent(worst.f1)}, {said(worst.label)}."
    marks = [(share / 100, f"{share}\N{NO-BREAK SPACE}%") for share in (0, 50, 100)]
    return Chart(
        "classes",
        title,
        words,
        drawing(title, words, plane.bottom + 26, _grid(plane, marks), *bars),
        ("Class", "Pictures", "Precision", "Recall", "F1"),
        tuple(_figures(found) for found in classes),
        _left_out(len(classes), "lowest"),
    )


def confusion(matrix: Matrix, link: Link | None = None) -> Chart:
    """What was taken for what: a heat map with a row for each class as it is. Its table has the mistakes."""
    count, room = len(matrix.labels), _room(matrix.labels)
    side = min(44.0, max(18.0, (WIDTH - room - 4) / count))
    size = side * count
    of = [sum(cell.count for cell in matrix.cells if cell.truth == place) for place in range(count)]
    mistakes = sorted((cell for cell in matrix.cells if cell.truth != cell.label), key=lambda cell: -cell.count)
    frame = []
    for place, label in enumerate(matrix.labels):
        middle = (place + 0.5) * side + 4
        frame += [_name_at(room - 8, middle, label), _upright(room + middle, size + 8, label)]
    frame += [_rules(room + place * side, place * side, room, size) for place in range(count + 1)]
    title, words = "What was taken for what", _mistaken(matrix, mistakes)
    return Chart(
        "confusion",
        title,
        words,
        drawing(
            title,
            words,
            size + room,
            *frame,
            *(_heat(matrix, cell, room, side, of[cell.truth], link) for cell in matrix.cells),
            width=max(room + size + 4, WIDTH),
        ),
        ("It is", "Taken for", "Pictures"),
        tuple(_mistake(matrix, cell, link) for cell in mistakes[:MISTAKES]),
        _not_in_matrix(matrix, len(mistakes)),
        wide=room + size > WIDTH + 40,
    )


def _counts(found: ClassCount) -> tuple[int, int, int]:
    return found.train, found.validation, found.test


def _range(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _left_out(count: int, which: str) -> str:
    return f"The chart has the {BARS} {which} of {count:,} classes; the table has all." if count > BARS else ""


def _figures(found: ClassFigures) -> tuple[str, ...]:
    return said(found.label), f"{found.pictures:,}", *map(percent, (found.precision, found.recall, found.f1))


def _mistaken(matrix: Matrix, mistakes: Sequence[Cell]) -> str:
    shape = "A row for each class as it is, a column for each as it was taken."
    if not mistakes:
        return f"{shape} No mistakes."
    first = mistakes[0]
    pair = f"{said(matrix.labels[first.truth])} taken for {said(matrix.labels[first.label])}"
    return f"{shape} The commonest mistake: {pair}, {first.count:,} of {sum(cell.count for cell in mistakes):,}."


def _mistake(matrix: Matrix, cell: Cell, link: Link | None) -> tuple[str | Markup, ...]:
    truth, label = matrix.labels[cell.truth], matrix.labels[cell.label]
    count = element("a", f"{cell.count:,}", href=link(truth, label)) if link else f"{cell.count:,}"
    return said(truth), said(label), count


def _not_in_matrix(matrix: Matrix, mistakes: int) -> str:
    parts = []
    if matrix.left_out:
        one, many = "class with fewer mistakes is left out.", "classes with fewer mistakes are left out."
        parts.append(counted(matrix.left_out, one, many))
    if mistakes > MISTAKES:
        parts.append(f"The table has the {MISTAKES} commonest of {mistakes:,} kinds of mistake.")
    return " ".join(parts)


def _lines(labels: Sequence[str], most: float, *, top: float, right: float) -> Plane:
    """A line for each class, the first at the top; x from 0 to most."""
    return Plane((0, most), (0, 1), left=_room(labels), right=right, top=top, bottom=top + LINE * len(labels))


def _room(labels: Sequence[str]) -> float:
    """For the names, beside what they name."""
    return 16 + LETTER * max(width(clipped(label, LETTERS)) for label in labels)


def _grid(plane: Plane, marks: Sequence[tuple[float, str]]) -> Markup:
    parts = []
    for value, words in marks:
        x = plane.x(value)
        parts.append(element("line", x1=x, x2=x, y1=plane.top, y2=plane.bottom, class_="rule"))
        parts.append(text(words, x, plane.bottom + 17, anchor="middle"))
    return join(*parts)


def _bar(plane: Plane, place: int, low: float, high: float, kind: str, words: str) -> Markup:
    x, size = plane.x(low), plane.x(high) - plane.x(low)
    y = plane.top + place * LINE + 5
    return element("rect", element("title", words), x=x, y=y, width=size, height=LINE - 10, class_=kind)


def _name(plane: Plane, place: int, label: str) -> Markup:
    return _name_at(plane.left - 8, plane.top + (place + 0.5) * LINE + 4, label)


def _name_at(x: float, y: float, label: str) -> Markup:
    """Ends at x; in full to who points at it."""
    return element("text", element("title", said(label)), clipped(label, LETTERS), x=x, y=y, text_anchor="end")


def _rules(x: float, y: float, room: float, size: float) -> Markup:
    down = element("line", x1=x, x2=x, y1=0, y2=size, class_="rule")
    return down + element("line", x1=room, x2=room + size, y1=y, y2=y, class_="rule")


def _heat(matrix: Matrix, cell: Cell, room: float, side: float, of: int, link: Link | None) -> Markup:
    truth, label = matrix.labels[cell.truth], matrix.labels[cell.label]
    x, y = room + cell.label * side, cell.truth * side
    heat = ceil(cell.count / of * HEATS)
    kind = f"heat-{heat} {'right' if truth == label else 'wrong'}"
    told = element("title", f"{said(truth)} taken for {said(label)}: {cell.count:,} of {of:,}")
    mark = element("rect", told, x=x + 0.5, y=y + 0.5, width=side - 1, height=side - 1, class_=kind)
    number = str(cell.count)
    if DIGIT * len(number) < side:
        mark += text(number, x + side / 2, y + side / 2 + 4, anchor="middle", kind=kind)
    # The table has the same links for the keyboard.
    return element("a", mark, href=link(truth, label), tabindex="-1") if link else mark


def _upright(x: float, y: float, label: str) -> Markup:
    """Reads upwards, ending at y."""
    full, shown = element("title", said(label)), clipped(label, LETTERS)
    return element("text", full, shown, text_anchor="end", transform=f"translate({x:.1f} {y:.1f}) rotate(-90)")
