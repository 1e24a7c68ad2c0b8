"""The charts of a training run, each with its table: values in, SVG out. Pure; knows nothing of pages."""

from collections.abc import Callable, Sequence
from math import isfinite

from markupsafe import Markup

from service.training.calibration import Bin, Calibration
from service.training.class_charts import Link, class_bars, confusion, distribution
from service.training.drawing import Chart, Plane, drawing, element, join, legend, text, ticks
from service.training.report import Report, percent
from service.training.runs import Epoch

FEW = 10
"""Pictures in a bin: the share of fewer that is right says little."""
DOTTED = 30
"""Epochs up to which each is a dot."""
QUARTERS = [(share, percent(share, 0)) for share in (0, 0.25, 0.5, 0.75, 1)]


def charts(report: Report, link: Link | None = None) -> list[Chart]:
    """All of a finished run's, in the order in which one reads them."""
    return [
        *curves(report.epochs),
        confusion(report.test.matrix, link),
        class_bars(report.test),
        reliability(report.test.calibration, report.uncalibrated if report.temperature.applied else None),
        confidences(report.test.calibration),
        distribution(report.classes),
    ]


def curves(epochs: Sequence[Epoch]) -> list[Chart]:
    """Loss and accuracy over the epochs of both phases; also of a run that is still going on. Without epochs none."""
    if not epochs:
        return []
    best = min(range(len(epochs)), key=lambda place: epochs[place].val_loss)
    losses = [(epoch.loss, epoch.val_loss) for epoch in epochs]
    accuracies = [(epoch.accuracy, epoch.val_accuracy) for epoch in epochs]
    highest = max((value for pair in losses for value in pair if isfinite(value)), default=1) or 1
    lowest = min(value for pair in accuracies for value in pair) // 0.2 * 20
    in_epoch = f"after epoch {best + 1} of {len(epochs)}"
    return [
        _curve(
            "loss",
            "Loss",
            f"Lowest in validation {in_epoch}: {epochs[best].val_loss:.3f}.",
            epochs,
            losses,
            [(value, f"{value:g}") for value in ticks(highest)],
            lambda value: f"{value:.3f}",
        ),
        _curve(
            "accuracy",
            "Accuracy",
            f"In validation {percent(epochs[best].val_accuracy)} {in_epoch}, where the loss was lowest.",
            epochs,
            accuracies,
            [(share, percent(share, 0)) for share in (0, 0.2, 0.4, 0.6, 0.8, 1) if share * 100 >= lowest - 1e-9],
            percent,
        ),
    ]


def reliability(calibration: Calibration, before: Calibration | None = None) -> Chart:
    """How often it was right, over how sure it was; on the diagonal where it is as sure as it may be.

    `before` the temperature: dots. Bins with fewer than FEW pictures are pale.
    """
    plane = Plane((0, 1), (0, 1))
    bars = [
        plane.column(found.low, found.high, 0, found.accuracy, _kind("score", found), _told(found))
        for found in calibration.bins
        if found.accuracy is not None
    ]
    ideal = plane.line([(0, 0), (1, 1)], "ideal")
    was = [
        element("circle", cx=plane.x(found.confidence), cy=plane.y(found.accuracy), r=4, class_=_kind("was", found))
        for found in (before.bins if before else ())
        if found.confidence is not None and found.accuracy is not None
    ]
    keys = [("score", "right"), ("score few", f"under {FEW} pictures"), *([("was", "before")] if before else [])]
    title, words = "Can its confidence be trusted?", _calibrated(calibration, before)
    return Chart(
        "reliability",
        title,
        words,
        drawing(title, words, 222, plane.axes(QUARTERS, QUARTERS, "how sure it was"), *bars, ideal, *was, legend(keys)),
        ("Sure", "Pictures", "Right", "Mean confidence"),
        tuple(
            (_sure(found), f"{found.pictures:,}", percent(found.accuracy), percent(found.confidence))
            for found in calibration.bins
            if found.pictures
        ),
    )


def confidences(calibration: Calibration) -> Chart:
    """How many pictures it was how sure of, right and wrong."""
    marks = list(ticks(max(found.pictures for found in calibration.bins), 4))
    plane = Plane((0, 1), (0, marks[-1]))
    bars = []
    for found in calibration.bins:
        wrong = found.pictures - found.right
        if wrong:
            bars.append(plane.column(found.low, found.high, 0, wrong, "wrong", f"{_sure(found)}: {wrong:,} wrong"))
        if found.right:
            words = f"{_sure(found)}: {found.right:,} right"
            bars.append(plane.column(found.low, found.high, wrong, found.pictures, "right", words))
    title = "How sure it was"
    words = f"In the mean {percent(calibration.confidence)} sure of its first guess."
    axes = plane.axes(QUARTERS, [(mark, f"{mark:,g}") for mark in marks], "how sure it was")
    return Chart(
        "confidences",
        title,
        words,
        drawing(title, words, 222, axes, *bars, legend([("right", "right"), ("wrong", "wrong")])),
        ("Sure", "Right", "Wrong"),
        tuple(
            (_sure(found), f"{found.right:,}", f"{found.pictures - found.right:,}")
            for found in calibration.bins
            if found.pictures
        ),
    )


def _curve(
    name: str,
    title: str,
    words: str,
    epochs: Sequence[Epoch],
    pairs: Sequence[tuple[float, float]],
    up: list[tuple[float, str]],
    shown: Callable[[float], str],
) -> Chart:
    """`pairs`: what it was in training and in validation, after each epoch."""
    last = len(epochs)
    plane = Plane((1, last) if last > 1 else (0, 2), (up[0][0], up[-1][0]))
    across = [(value, f"{value:g}") for value in ticks(last) if 1 <= value <= last and value == int(value)]
    lines = [_series(plane, [pair[side] for pair in pairs], kind) for side, kind in enumerate(("train", "validation"))]
    return Chart(
        name,
        title,
        words,
        drawing(
            title,
            words,
            222,
            plane.axes(across, up, "epochs"),
            _turn(plane, epochs),
            *lines,
            legend([("train", "training"), ("validation", "validation")]),
        ),
        ("Epoch", "Phase", "Training", "Validation"),
        tuple(
            (str(place), epoch.phase, shown(train), shown(validation))
            for place, (epoch, (train, validation)) in enumerate(zip(epochs, pairs, strict=True), 1)
        ),
    )


def _series(plane: Plane, values: Sequence[float], kind: str) -> Markup:
    points = [(place, value) for place, value in enumerate(values, 1) if isfinite(value)]
    line = plane.line(points, kind)
    if len(values) > DOTTED:
        return line
    return line + join(*(element("circle", cx=plane.x(x), cy=plane.y(y), r=2.5, class_=kind) for x, y in points))


def _turn(plane: Plane, epochs: Sequence[Epoch]) -> Markup:
    """Where fine-tuning begins."""
    head = sum(epoch.phase == "head" for epoch in epochs)
    if head in (0, len(epochs)):
        return Markup("")
    x = plane.x(head + 0.5)
    has_room, y = plane.right - x > 70, plane.top - 5
    words = text("fine-tuning", x + 5, y) if has_room else text("fine-tuning →", x - 5, y, anchor="end")
    return element("line", x1=x, x2=x, y1=plane.top, y2=plane.bottom, class_="turn") + words


def _calibrated(calibration: Calibration, before: Calibration | None) -> str:
    earlier = f", {percent(before.error)} before the temperature" if before else ""
    return (
        f"Expected calibration error {percent(calibration.error)}{earlier}. On the diagonal it is as sure as it may be."
    )


def _kind(name: str, found: Bin) -> str:
    return f"{name} few" if found.pictures < FEW else name


def _sure(found: Bin) -> str:
    return f"{found.low * 100:.0f} to {percent(found.high, 0)}"


def _told(found: Bin) -> str:
    return f"{_sure(found)} sure: {percent(found.accuracy)} of {found.pictures:,} right"
