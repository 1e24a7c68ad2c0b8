"""Train the demo model on scikit-learn's handwritten digits and rebuild service/models/demo. About a minute.

    python scripts/train_demo.py [--epochs 5] [--out service/models/demo]

Needs the `train` extra. The 1,797 digits are 8x8 pictures of one kind of pen; what people upload is a photo of a
pen on paper or a drawing, in any colour, larger or smaller, light on dark or dark on light. So each training
digit is drawn many times: smoothly enlarged, sharpened to a pen's stroke, turned, stretched, moved, inked and lit
at random. A fifth of the digits is held out before anything else and never drawn for training.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from service.inference.labels import ClassTable
from service.models.architectures import ARCHITECTURES
from service.models.versions import write_version

DEMO = Path(__file__).parent.parent / "service" / "models" / "demo"
SEED = 0
SIZE = ARCHITECTURES["demo"].input.size
COPIES = 24  # drawings of each digit: 1,437 * 24 = 34,000 pictures; more of them beats more epochs
Digits = NDArray[np.float64]  # (n, 8, 8), 0 paper .. 16 ink, as scikit-learn has them
Pictures = NDArray[np.float32]  # (n, SIZE, SIZE, 3), 0..1


def split() -> tuple[Digits, NDArray[np.int64], Digits, NDArray[np.int64]]:
    """Training digits and labels, then the held-out fifth, each class in its share."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    seen, held, seen_labels, held_labels = train_test_split(
        digits.images, digits.target, test_size=0.2, stratify=digits.target, random_state=SEED
    )
    return seen, seen_labels, held, held_labels


def plain(digits: Digits, *, dark_on_light: bool) -> Pictures:
    """Each digit upright in the middle, two thirds of the picture high, black and white: how a test draws it."""
    ink = np.stack([np.asarray(place(digit, SIZE * 0.72, SIZE * 0.72), np.float32) for digit in digits]) / 255
    grey = 1 - ink if dark_on_light else ink
    return np.repeat(grey[..., None], 3, axis=3)


def place(digit: NDArray[np.float64], width: float, height: float, turn: NDArray[np.float64] | None = None,
          shift: tuple[float, float] = (0, 0)) -> Image.Image:  # fmt: skip
    """The 8x8 digit as a grey SIZE x SIZE picture, `width` x `height` pixels, enlarged smoothly."""
    framed = Image.fromarray(np.pad(digit / 16 * 255, 4).astype(np.uint8))  # 16x16: paper on all sides
    scale = np.diag([8 / width, 8 / height]) @ (np.eye(2) if turn is None else turn)
    centre = np.array([8, 8]) - scale @ (np.array([SIZE, SIZE]) / 2 + shift)
    matrix = (*scale[0], centre[0], *scale[1], centre[1])
    return framed.transform((SIZE, SIZE), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


def draw(digit: NDArray[np.float64], random: np.random.Generator) -> Pictures:
    """One random picture of the digit: float32 (SIZE, SIZE, 3)."""
    height = random.uniform(0.42, 1.0) * SIZE
    width = height * random.uniform(0.7, 1.25)
    angle, shear = random.normal(0, 0.12), random.normal(0, 0.12)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ [[1, shear], [0, 1]]
    slack = max(0.0, (SIZE - height) / 2) * 0.8
    shift = (random.uniform(-slack, slack), random.uniform(-slack, slack))
    picture = place(digit, width, height, turn, shift)
    if random.random() < 0.4:
        picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(0.2, 0.9)))
    ink = np.asarray(picture, np.float32)[..., None] / 255
    if random.random() < 0.6:  # a pen's edge is sharper than an enlarged 8x8 picture's
        middle, steepness = random.uniform(0.25, 0.55), random.uniform(6, 20)
        ink = 1 / (1 + np.exp(-steepness * (ink - middle)))
    paper_colour, ink_colour = colours(random)
    coloured = paper_colour + ink * (ink_colour - paper_colour)
    slope = np.linspace(-0.5, 0.5, SIZE, dtype=np.float32)  # light from one side, as in a photo
    light = random.normal(0, 0.12) * slope[:, None, None] + random.normal(0, 0.12) * slope[None, :, None]
    noise = random.normal(0, random.uniform(0, 0.04), (SIZE, SIZE, 3))
    return np.clip(coloured + light + noise, 0, 1).astype(np.float32)


def colours(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Paper and ink, RGB in 0..1: half dark on light, half the reverse; always far enough apart to be read."""
    light, dark = random.uniform(0.6, 1.0, 3), random.uniform(0, 0.35, 3)
    if random.random() < 0.3:
        light, dark = np.ones(3), np.zeros(3)
    return (light, dark) if random.random() < 0.5 else (dark, light)


def draw_all(digits: Digits, labels: NDArray[np.int64], copies: int) -> tuple[Pictures, NDArray[np.int64]]:
    random = np.random.default_rng(SEED)
    pictures = [draw(digit, random) for _ in range(copies) for digit in digits]
    return np.stack(pictures), np.tile(labels, copies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=DEMO)
    arguments = parser.parse_args()
    started = time.monotonic()

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()

    seen, seen_labels, held, held_labels = split()
    pictures, labels = draw_all(seen, seen_labels, COPIES)
    print(f"{len(seen)} digits drawn {COPIES} times each; {len(held)} held out.")

    model = ARCHITECTURES["demo"].build()
    steps = arguments.epochs * (len(pictures) // 64 + 1)
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, steps)  # down to 0 at the last step
    model.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(pictures, labels, batch_size=64, epochs=arguments.epochs, verbose=2)

    def accuracy(pictures: Pictures, labels: NDArray[np.int64]) -> float:
        scores = model.predict(pictures, verbose=0)
        return round(float((scores.argmax(axis=1) == labels).mean()), 4)

    metrics = {
        "held_out_digits": float(len(held)),
        "held_out_accuracy_dark_on_light": accuracy(plain(held, dark_on_light=True), held_labels),
        "held_out_accuracy_light_on_dark": accuracy(plain(held, dark_on_light=False), held_labels),
        "held_out_accuracy_drawn_at_random": accuracy(*draw_all(held, held_labels, 4)),
    }
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "demo.weights.h5"
        fresh = ARCHITECTURES["demo"].build()  # without the optimiser's state
        fresh.set_weights(model.get_weights())
        fresh.save_weights(weights)
        shutil.rmtree(arguments.out, ignore_errors=True)
        classes = ClassTable(tuple(f"digit_{n}" for n in range(10)), (None,) * 10, NAMES)
        version = write_version(
            arguments.out, name="demo", architecture="demo", input_spec=ARCHITECTURES["demo"].input,
            metrics=metrics, weights=weights, classes=classes,
        )  # fmt: skip
    print(json.dumps(version.metrics, indent=2))
    print(f"{version.weights} ({version.weights.stat().st_size / 1024:.0f} KiB), {time.monotonic() - started:.0f} s")


NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

if __name__ == "__main__":
    main()
