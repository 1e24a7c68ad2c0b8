"""Draw the example pictures of the page into web/static/examples: `python scripts/draw_examples.py [folder]`.

Digits for the demo model, simple objects for models that know ImageNet. All of it is drawn here, so the
pictures carry no one else's rights; the same run gives the same bytes (one seed per picture).
"""

import math
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

SIDE = 320  # pixels of a finished picture: sharp as a preview, under 30 kB as a PNG
SCALE = 3  # drawn three times as large and scaled down, because ImageDraw does not smooth edges
COLOURS = 64  # enough for flat drawings
FOLDER = Path(__file__).parents[1] / "web" / "static" / "examples"

Point = tuple[float, float]
Draw = ImageDraw.ImageDraw

# The strokes of a pen, each through points of a unit square, as a hand would draw them.
STROKES: dict[int, list[list[Point]]] = {
    0: [[(0.52, 0.16), (0.34, 0.26), (0.29, 0.52), (0.36, 0.78), (0.52, 0.85), (0.67, 0.74), (0.72, 0.48),
         (0.66, 0.24), (0.50, 0.16)]],
    2: [[(0.30, 0.30), (0.40, 0.18), (0.56, 0.17), (0.67, 0.28), (0.62, 0.45), (0.47, 0.63), (0.29, 0.82),
         (0.48, 0.81), (0.73, 0.81)]],
    3: [[(0.31, 0.24), (0.44, 0.16), (0.61, 0.20), (0.65, 0.34), (0.56, 0.45), (0.44, 0.49), (0.60, 0.53),
         (0.70, 0.66), (0.62, 0.81), (0.45, 0.86), (0.30, 0.78)]],
    7: [[(0.24, 0.22), (0.42, 0.17), (0.60, 0.19), (0.74, 0.17), (0.68, 0.33), (0.56, 0.56), (0.47, 0.85)],
        [(0.40, 0.52), (0.56, 0.50), (0.73, 0.49)]],
    8: [[(0.60, 0.21), (0.46, 0.16), (0.36, 0.26), (0.42, 0.40), (0.58, 0.52), (0.67, 0.68), (0.58, 0.83),
         (0.43, 0.84), (0.34, 0.72), (0.40, 0.56), (0.56, 0.43), (0.64, 0.29), (0.58, 0.20)]],
}  # fmt: skip


def spline(points: list[Point], steps: int = 40) -> Iterator[Point]:
    """A Catmull-Rom curve through the points: what a moving wrist makes of them."""
    padded = [points[0], *points, points[-1]]
    for p0, p1, p2, p3 in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        for t in (step / steps for step in range(steps)):
            yield (_blend(p0[0], p1[0], p2[0], p3[0], t), _blend(p0[1], p1[1], p2[1], p3[1], t))


def _blend(a: float, b: float, c: float, d: float, t: float) -> float:
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)


def digit(number: int) -> Image.Image:
    """A felt-tip digit on paper."""
    rng = random.Random(number)
    side = SIDE * SCALE
    picture = Image.new("RGB", (side, side), "#fbfaf6")
    pen = ImageDraw.Draw(picture)
    for stroke in STROKES[number]:
        points = [(x + rng.gauss(0, 0.006), y + rng.gauss(0, 0.006)) for x, y in stroke]
        for n, (x, y) in enumerate(spline(points)):
            radius = side * (0.050 + 0.006 * math.sin(n / 23))  # the pressure of the hand comes and goes
            edges = [x * side - radius, y * side - radius, x * side + radius, y * side + radius]
            pen.ellipse(edges, fill="#1c2a3a")
    return picture


def sky(top: str, bottom: str) -> Image.Image:
    """A vertical gradient to draw on."""
    side = SIDE * SCALE
    mask = Image.linear_gradient("L").resize((side, side))
    return Image.composite(Image.new("RGB", (side, side), bottom), Image.new("RGB", (side, side), top), mask)


def disc(pen: Draw, x: float, y: float, r: float, fill: str) -> None:
    """A filled circle; lengths are parts of the side."""
    side = SIDE * SCALE
    pen.ellipse([(x - r) * side, (y - r) * side, (x + r) * side, (y + r) * side], fill=fill)


def shape(pen: Draw, points: list[Point], fill: str) -> None:
    """A filled polygon of points in the unit square."""
    pen.polygon([(x * SIDE * SCALE, y * SIDE * SCALE) for x, y in points], fill=fill)


def box(pen: Draw, left: float, top: float, right: float, bottom: float, fill: str, r: float = 0.0) -> None:
    """A filled box with round corners; lengths are parts of the side."""
    side = SIDE * SCALE
    pen.rounded_rectangle([left * side, top * side, right * side, bottom * side], radius=r * side, fill=fill)


def around(x: float, y: float, angle_deg: float, length: float) -> Point:
    """The point at an angle (0 = up, clockwise) and a distance from x, y."""
    angle = math.radians(angle_deg)
    return x + length * math.sin(angle), y - length * math.cos(angle)


def ray(pen: Draw, start: Point, end: Point, width: float, fill: str) -> None:
    """A line; width is a part of the side."""
    side = SIDE * SCALE
    ends = [(x * side, y * side) for x, y in (start, end)]
    pen.line(ends, fill=fill, width=round(width * side))


def clock() -> Image.Image:
    """A wall clock at ten past ten."""
    picture = sky("#d8d2c4", "#c9c1b0")
    pen = ImageDraw.Draw(picture)
    disc(pen, 0.51, 0.52, 0.40, "#a79f90")
    disc(pen, 0.50, 0.50, 0.40, "#2b2f33")
    disc(pen, 0.50, 0.50, 0.36, "#fdfcf8")
    for minute in range(60):
        length, width = (0.045, 0.012) if minute % 5 == 0 else (0.02, 0.005)
        ray(pen, around(0.5, 0.5, minute * 6, 0.34), around(0.5, 0.5, minute * 6, 0.34 - length), width, "#24282c")
    side = SIDE * SCALE
    for hour in range(1, 13):
        x, y = around(0.5, 0.5, hour * 30, 0.26)
        pen.text((x * side, y * side), str(hour), fill="#24282c", anchor="mm", font_size=0.065 * side)
    ray(pen, (0.5, 0.5), around(0.5, 0.5, 305, 0.19), 0.024, "#24282c")
    ray(pen, (0.5, 0.5), around(0.5, 0.5, 60, 0.28), 0.016, "#24282c")
    ray(pen, around(0.5, 0.5, 10, 0.05), around(0.5, 0.5, 190, 0.29), 0.006, "#c23b22")
    disc(pen, 0.5, 0.5, 0.022, "#24282c")
    return picture


def traffic_light() -> Image.Image:
    """A traffic light against an evening sky."""
    picture = sky("#7fa3c4", "#e6d3bd")
    pen = ImageDraw.Draw(picture)
    box(pen, 0.47, 0.70, 0.53, 1.0, "#3a3d40")
    box(pen, 0.34, 0.08, 0.66, 0.84, "#24272a", 0.05)
    for y, dark, lit in ((0.22, "#5a0f0b", "#ff3b2f"), (0.46, "#574208", ""), (0.70, "#0d4a22", "")):
        disc(pen, 0.5, y, 0.105, "#121416")
        disc(pen, 0.5, y + 0.01, 0.09, lit or dark)
        if lit:
            disc(pen, 0.475, y - 0.02, 0.028, "#ffb3a8")
    return picture


def daisy() -> Image.Image:
    """A daisy in the grass."""
    picture = sky("#6d9a4c", "#2f5c27")
    pen = ImageDraw.Draw(picture)
    rng = random.Random(7)
    for _ in range(260):
        x, y = rng.random(), rng.random() * 1.1
        tint = rng.choice(["#7fae5b", "#4c7d38", "#3c6c30", "#8fbd66"])
        ray(pen, (x, y), (x + rng.gauss(0, 0.03), y - 0.12), 0.008, tint)
    picture = picture.filter(ImageFilter.GaussianBlur(5))
    pen = ImageDraw.Draw(picture)
    for ring, (length, tint) in enumerate(((0.40, "#dfe3e8"), (0.37, "#ffffff"))):
        for petal in range(17):
            angle = petal * 360 / 17 + ring * 10 + rng.gauss(0, 2)
            tips = [around(0.5, 0.5, angle + turn, length * reach) for turn, reach in PETAL]
            shape(pen, list(spline(tips, 8)), tint)
    disc(pen, 0.5, 0.5, 0.125, "#d18a00")
    disc(pen, 0.49, 0.485, 0.11, "#f5b916")
    for n in range(170):  # florets on a sunflower spiral
        x, y = around(0.49, 0.49, n * 137.5, 0.0085 * math.sqrt(n))
        disc(pen, x, y, 0.0045, "#c47f00" if n % 2 else "#ffd24d")
    return picture


PETAL = [(0, 0.25), (-5, 0.5), (-8, 0.8), (-5, 0.96), (0, 1.0), (5, 0.96), (8, 0.8), (5, 0.5), (0, 0.25)]


def umbrella() -> Image.Image:
    """An open umbrella in the rain."""
    picture = sky("#aebbc6", "#dfe5ea")
    pen = ImageDraw.Draw(picture)
    side = SIDE * SCALE
    ray(pen, (0.5, 0.10), (0.5, 0.82), 0.018, "#4a3426")
    pen.arc([0.5 * side - 0.009 * side, 0.75 * side, 0.62 * side, 0.89 * side], 0, 180, "#4a3426", round(0.02 * side))
    pen.pieslice([0.08 * side, 0.14 * side, 0.92 * side, 0.98 * side], 180, 360, fill="#c8272d")
    for left, right, tint in ((0.08, 0.92, "#b01e26"), (0.28, 0.72, "#d6353a")):
        pen.pieslice([left * side, 0.14 * side, right * side, 0.98 * side], 180, 360, fill=tint)
    pen.pieslice([0.42 * side, 0.14 * side, 0.58 * side, 0.98 * side], 180, 360, fill="#b01e26")
    for middle, half in ((0.18, 0.10), (0.35, 0.07), (0.5, 0.08), (0.65, 0.07), (0.82, 0.10)):
        span = [(middle - half) * side, 0.52 * side, (middle + half) * side, 0.60 * side]
        pen.ellipse(span, fill="#c9d2da")
    ray(pen, (0.5, 0.52), (0.5, 0.82), 0.018, "#4a3426")
    return picture


def balloon() -> Image.Image:
    """A hot-air balloon over hills."""
    picture = sky("#3f8fd6", "#cfe8f7")
    pen = ImageDraw.Draw(picture)
    side = SIDE * SCALE
    shape(pen, [(0, 0.9), (0.3, 0.82), (0.6, 0.9), (1, 0.83), (1, 1), (0, 1)], "#5e8f57")
    for n, tint in enumerate(("#d8342c", "#f6b31b", "#2c6fb5", "#f6b31b", "#d8342c")):
        squeeze = (0.30, 0.22, 0.13, 0.07, 0.025)[n]
        pen.ellipse([(0.5 - squeeze) * side, 0.08 * side, (0.5 + squeeze) * side, 0.62 * side], fill=tint)
        shape(pen, [(0.5 - squeeze * 0.93, 0.46), (0.5 + squeeze * 0.93, 0.46),
                    (0.5 + squeeze * 0.2, 0.70), (0.5 - squeeze * 0.2, 0.70)], tint)  # fmt: skip
    for x in (0.445, 0.555):
        ray(pen, (x, 0.69), (0.5 + (x - 0.5) * 0.7, 0.78), 0.005, "#3b2c20")
    box(pen, 0.455, 0.775, 0.545, 0.845, "#8a5a2b", 0.01)
    return picture


DRAWINGS: dict[str, Callable[[], Image.Image]] = {
    "digit-3": lambda: digit(3),
    "digit-7": lambda: digit(7),
    "digit-8": lambda: digit(8),
    "digit-2": lambda: digit(2),
    "digit-0": lambda: digit(0),
    "object-clock": clock,
    "object-traffic-light": traffic_light,
    "object-daisy": daisy,
    "object-umbrella": umbrella,
    "object-balloon": balloon,
}


def main(folder: Path) -> None:
    """Draw every picture into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in DRAWINGS.items():
        small = draw().resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        path = folder / f"{name}.png"
        small.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
        print(f"{path}  {path.stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
