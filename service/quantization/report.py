"""What `glimt quantize` found: the verdict, the table, the words, the JSON. Pure."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from service.counting import counted
from service.quantization.quality import Quality
from service.quantization.speed import BATCHES

SAME_LABEL = 0.9
"""A model that gives so many pictures one label agrees with anything that does the same."""
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model as measured. `in_float`: how many of its layers do not compute in int8; `per_s` at each of BATCHES."""

    name: str
    in_float: int
    quality: Quality
    per_s: tuple[float, ...]
    weights_bytes: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """A model that was made and checked, but perhaps not measured further."""

    in_float: int
    agreement: float


@dataclass(frozen=True, slots=True)
class Report:
    """`int8` has the plain model, and, when that was not good enough, the best one with layers in float as well."""

    model: str
    calibrated: int
    asked: int
    unreadable: int
    duplicates: int
    layers: int
    least_agreement: float
    commonest_share: float
    attempts: tuple[Attempt, ...]
    float32: Candidate
    int8: tuple[Candidate, ...]

    @property
    def chosen(self) -> Candidate:
        """The one to publish."""
        return self.int8[-1]

    @property
    def passed(self) -> bool:
        """Whether it may be published."""
        return self.chosen.quality.agreement >= self.least_agreement


def metrics(report: Report) -> dict[str, float]:
    """For the manifest of the published version."""
    quality = report.chosen.quality
    found = {
        "agreement": quality.agreement,
        "mean_delta_p": quality.mean_delta,
        "calibration_pictures": report.calibrated,
        "checked_pictures": quality.checked,
        "layers": report.layers,
        "layers_in_float": report.chosen.in_float,
    }
    for candidate, kind in ((report.float32, "float32"), (report.chosen, "int8")):
        for batch, per_s in zip(BATCHES, candidate.per_s, strict=True):
            found[f"{kind}_pictures_per_s_at_{batch}"] = per_s
        if quality.labelled:
            found[f"{kind}_top1"] = candidate.quality.top1
            found[f"{kind}_top5"] = candidate.quality.top5
    return {name: round(value, 4) for name, value in found.items()}


def document(report: Report) -> dict[str, Any]:
    """For --json."""
    return asdict(report) | {"batches": BATCHES, "passed": report.passed, "metrics": metrics(report)}


def table(report: Report) -> Table:
    """A column per model, ratios to float32."""
    shown = Table("", box=None, pad_edge=False)
    for candidate in (report.float32, *report.int8):
        shown.add_column(candidate.name, justify="right")
    for name, cells in _rows(report):
        shown.add_row(name, *cells)
    return shown


def sentences(report: Report) -> list[str]:
    """What to tell, one thought each, the answer first."""
    return [text for text in (_answer(report), _fallback(report), _accuracy(report), _doubt(report)) if text]


def _rows(report: Report) -> Iterator[tuple[str, list[str]]]:
    models, quality = (report.float32, *report.int8), report.float32.quality
    yield "top-1 agreement", ["", *(f"{model.quality.agreement:.3f}" for model in report.int8)]
    if quality.labelled:
        yield "top-1 accuracy", [f"{model.quality.top1:.1%}" for model in models]
        yield "top-5 accuracy", [f"{model.quality.top5:.1%}" for model in models]
    yield "mean |Δp| of the first label", ["", *(f"{model.quality.mean_delta:.4f}" for model in report.int8)]
    for place, batch in enumerate(BATCHES):
        base = report.float32.per_s[place]
        rates = [f"{model.per_s[place]:.1f} ({model.per_s[place] / base:.2f}x)" for model in report.int8]
        yield f"pictures/s, batch {batch}", [f"{base:.1f}", *rates]
    yield "weights on disk", [f"{model.weights_bytes / MB:.1f} MB" for model in models]
    yield "layers in float", [f"{model.in_float} of {report.layers}" for model in models]


def _answer(report: Report) -> str:
    quality = report.chosen.quality
    low, high = quality.certain
    found = (
        f"{quality.agreeing} of {quality.checked} checked pictures keep their first label: {quality.agreement:.3f} "
        f"(on all pictures like these {low:.3f} to {high:.3f}, 95 % sure); {report.least_agreement:g} is asked for."
    )
    if report.passed:
        return found
    return (
        f"{found} Not good enough. To try: more and more varied pictures ({report.calibrated} were used to calibrate"
        f"; half of those there are, --calibrate {report.asked} at most); --least-agreement "
        f"{int(quality.agreement * 100) / 100:g} if that will do; or stay with float32."
    )


def _fallback(report: Report) -> str:
    if len(report.attempts) < 2:
        return ""
    plain, chosen = report.int8[0], report.chosen
    tried = ", ".join(f"{attempt.in_float}: {attempt.agreement:.3f}" for attempt in report.attempts)
    if chosen is plain:
        return f"Leaving the worst layers in float did not help ({tried})."
    cost = 1 - chosen.per_s[1] / plain.per_s[1]
    return (
        f"Plain int8 reached {plain.quality.agreement:.3f}, so the worst layers were left in float ({tried}). With "
        f"{chosen.in_float} of {report.layers} that costs {cost:.0%} of the plain speed at batch {BATCHES[1]}."
    )


def _accuracy(report: Report) -> str:
    before, after = report.float32.quality, report.chosen.quality
    if not before.labelled:
        return ""
    return (
        f"Of {counted(before.labelled, 'picture')} with a known label float32 has {before.right} right, int8 "
        f"{after.right} ({(after.top1 - before.top1) * 100:+.1f} points)."
    )


def _doubt(report: Report) -> str:
    doubts = []
    if report.commonest_share > SAME_LABEL:
        doubts.append(
            f"float32 gives {report.commonest_share:.0%} of the checked pictures the same label (random weights?), "
            "so the agreement says little."
        )
    if report.unreadable or report.duplicates:
        doubts.append(f"Left out: {report.unreadable} unreadable, {report.duplicates} duplicate pictures.")
    return " ".join(doubts)
