"""Fits a network to pictures: the new layers first, then the backbone's last ones too.

Where the backbone has learned before and pictures are not changed, its features are computed once and only the small
rest learns from them. A network that begins at random learns whole, in the first phase. Goes on from a checkpoint as if
it had never stopped. Keras is imported in functions: in the trainer's process only.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.errors import BadRequest
from service.files import replace_file
from service.inference.normalisation import normalised
from service.models.architectures import input_of
from service.settings import Settings
from service.training.augmentation import augmentation
from service.training.beginnings import FEATURES, begin, is_pretrained
from service.training.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from service.training.course import Course, course
from service.training.dataset import Dataset, open_pixels
from service.training.orders import Order
from service.training.runs import Epoch, Run

Phase = Literal["head", "fine-tuning"]
Rows = NDArray[np.int64]
Floats = NDArray[np.float32]
Inputs = Callable[[Rows], Floats]
Tick = Callable[[float], None]
"""Called after every batch with the share of the pass that is done."""

CHECKPOINT = "checkpoint"
AT_ONCE = 32
"""Pictures in one step that are only looked at, not learned from."""
COSTS: dict[Phase, float] = {"head": 1.0, "fine-tuning": 1.5}
FROM_NOTHING, FROM_FEATURES = 3.0, 0.02
"""What a pass costs beside one that only looks: for the estimate of the time left, until the next epoch corrects it."""


@dataclass(frozen=True, slots=True)
class Step:
    """`epochs` are whole, of `at_most`. `eta_s`: seconds left if none of them is spared."""

    words: str
    epochs: int
    at_most: int
    eta_s: float | None


OnStep = Callable[[Step], None]
"""Called after every batch. What it raises ends the fitting; the checkpoint stays."""


@dataclass(frozen=True)
class Examples:
    """What is learned from. `inputs(rows)`: float32 (len(rows), ...); `labels`: int64, of every row; `weights`:
    float32, of every class."""

    inputs: Inputs
    labels: NDArray[np.int64]
    weights: Floats
    train: Rows
    validation: Rows


def fit(order: Order, dataset: Dataset, run: Run, settings: Settings, *, on_step: OnStep) -> Any:
    """The Keras model with the weights of its best epoch: normalised float32 pictures -> probabilities.

    Writes epochs.ndjson and the checkpoint after every epoch, and begins where that is. Raises as `begin`, BadRequest
    when the loss is no longer a number, OSError, and what `on_step` raises.
    """
    import keras

    keras.utils.set_random_seed(order.seed)
    model = begin(order, dataset.classes, settings)
    fitting = Fitting(order, run, on_step)
    examples = _examples(order, dataset, run)
    whole = [*(augmentation(order.seed) if order.augment else []), model]
    if not is_pretrained(order):
        fitting.learn("head", whole, lambda: examples, FROM_NOTHING)
        return model
    base, head = _parts(model)
    for layer in base:
        layer.trainable = False
    if order.augment:
        fitting.learn("head", whole, lambda: examples)
    else:
        fitting.learn("head", head, lambda: _features(base, examples, fitting.looking), FROM_FEATURES)
    if order.fine_tune_epochs:
        _thaw(base, order.fine_tune_share)
        fitting.learn("fine-tuning", whole, lambda: examples)
    return model


def scores(model: Any, inputs: Inputs, rows: Rows, tick: Tick = lambda share: None) -> Floats:
    """What the model answers to `rows`, in their order: float32 (len(rows), ...)."""
    answers = []
    for start in range(0, len(rows), AT_ONCE):
        chosen = np.resize(rows[start : start + AT_ONCE], AT_ONCE)  # another size of batch would be compiled anew
        answers.append(model.predict_on_batch(inputs(chosen)))
        tick(min(1.0, (start + AT_ONCE) / len(rows)))
    return np.concatenate(answers)[: len(rows)]


def pictures(order: Order, run: Run) -> Inputs:
    """The pictures of a run as its model wants them."""
    pixels, spec = open_pixels(run.folder), input_of(order.recipe(1))
    return lambda rows: normalised(pixels[rows], spec.normalisation)


class Fitting:
    """The epochs of a run, those before a restart among them."""

    def __init__(self, order: Order, run: Run, on_step: OnStep) -> None:
        self._order, self._run, self._on_step = order, run, on_step
        self._folder = run.folder / CHECKPOINT
        self._before = read_checkpoint(self._folder)
        self._epochs: list[Epoch] = list(self._before.epochs) if self._before else []
        lines = "".join(f"{epoch.model_dump_json()}\n" for epoch in self._epochs)
        replace_file(run.folder / "epochs.ndjson", lines.encode())  # one may be there that the checkpoint has not
        self._passes = {"head": order.epochs, "fine-tuning": order.fine_tune_epochs if is_pretrained(order) else 0}
        self._started, self._spent = time.monotonic(), 0.0

    def learn(
        self, phase: Phase, layers: Sequence[Any], examples: Callable[[], Examples], cost: float | None = None
    ) -> None:
        """Let `layers`, one after the other, learn until the phase is over. They end with the weights of its best
        epoch, or as they began when none was better. `cost` of a pass, see COSTS."""
        if phase == "head" and self._own("fine-tuning"):
            return
        cost = COSTS[phase] if cost is None else cost
        learner = _learner(layers, self._order, phase)
        start_loss, best = self._resume(phase, learner)
        data: Examples | None = None
        now = self._course(phase, start_loss)
        while len(self._own(phase)) < self._passes[phase] and now.waited < self._order.patience:
            data = data or examples()
            epoch = self._epoch(phase, learner, data, now.rate, cost)
            self._epochs.append(epoch)
            now = self._course(phase, start_loss)
            if now.waited == 0:
                best = learner.get_weights()
            state, optimizer = _values(learner.variables), _values(learner.optimizer.variables)
            write_checkpoint(self._folder, Checkpoint(tuple(self._epochs), start_loss, state, optimizer, best))
            self._run.add(epoch)
        learner.set_weights(best)

    def looking(self, share: float) -> None:
        """So much of the pass that only looks is done."""
        self._tell("Looking at the pictures", 1.0, share, self._later("head", FROM_FEATURES))

    def _resume(self, phase: Phase, learner: Any) -> tuple[float, Sequence[NDArray[Any]]]:
        """The loss that the phase began with, and its best weights so far; the learner as it was."""
        if self._before is None or not self._own(phase):
            return min((epoch.val_loss for epoch in self._epochs), default=math.inf), learner.get_weights()
        _assign(learner.variables, self._before.state)
        _assign(learner.optimizer.variables, self._before.optimizer)
        return self._before.start_loss, self._before.best

    def _epoch(self, phase: Phase, learner: Any, data: Examples, rate: float, cost: float) -> Epoch:
        """One pass over the training pictures, then a look at those for validation."""
        started, number = time.monotonic(), len(self._own(phase)) + 1
        words = f"{'New layers' if phase == 'head' else 'Fine-tuning'}, epoch {number} of at most {self._passes[phase]}"

        def tick(share: float) -> None:
            self._tell(words, cost, share, self._later(phase, cost) - cost)

        learner.optimizer.learning_rate = rate
        order = np.random.default_rng((self._order.seed, len(self._epochs))).permutation(data.train)
        loss, accuracy = _pass(learner, data, order, self._order.batch, tick)
        val_loss, val_accuracy = _held_out(learner, data, tick)
        if not (math.isfinite(loss) and math.isfinite(val_loss)):
            raise BadRequest(f"The loss is no longer a number, in epoch {number}. Way out: a smaller learning rate.")
        self._spent += cost
        return Epoch(
            phase=phase, epoch=number, loss=loss, accuracy=accuracy, val_loss=val_loss, val_accuracy=val_accuracy,
            learning_rate=rate, seconds=time.monotonic() - started,
        )  # fmt: skip

    def _course(self, phase: Phase, start_loss: float) -> Course:
        return course([epoch.val_loss for epoch in self._own(phase)], _rate(self._order, phase), start_loss)

    def _own(self, phase: Phase) -> list[Epoch]:
        return [epoch for epoch in self._epochs if epoch.phase == phase]

    def _later(self, phase: Phase, cost: float) -> float:
        """What the passes to come cost, this one among them."""
        here = (self._passes[phase] - len(self._own(phase))) * cost
        return here + (self._passes["fine-tuning"] * COSTS["fine-tuning"] if phase == "head" else 0)

    def _tell(self, words: str, cost: float, share: float, later: float) -> None:
        spent = self._spent + cost * share
        eta_s = (time.monotonic() - self._started) / spent * ((1 - share) * cost + later) if spent else None
        left = self._passes["fine-tuning"] - len(self._own("fine-tuning"))
        if not self._own("fine-tuning"):
            left += self._passes["head"] - len(self._own("head"))
        self._on_step(Step(words, len(self._epochs), len(self._epochs) + left, eta_s))


def _examples(order: Order, dataset: Dataset, run: Run) -> Examples:
    train = dataset.of("train")
    weights = np.ones(len(dataset.classes), np.float32)
    if order.class_weights:
        counts = np.bincount(dataset.labels[train], minlength=len(weights))
        weights = (len(train) / (len(weights) * np.maximum(counts, 1))).astype(np.float32)
    return Examples(pictures(order, run), dataset.labels, weights, train, dataset.of("validation"))


def _parts(model: Any) -> tuple[list[Any], list[Any]]:
    """The backbone's layers with the pooling, and the new ones."""
    at = [layer.name for layer in model.layers].index(FEATURES) + 1
    return model.layers[:at], model.layers[at:]


def _features(base: list[Any], examples: Examples, tick: Tick) -> Examples:
    """What the pooling answers to every picture, in the place of the pictures."""
    import keras

    looks = keras.Model(base[0].output, base[-1].output)
    rows = np.concatenate([examples.train, examples.validation])
    found = np.empty((len(examples.labels), base[-1].output.shape[-1]), np.float32)
    found[rows] = scores(looks, examples.inputs, rows, tick)
    return replace(examples, inputs=lambda wanted: found[wanted])


def _thaw(base: list[Any], share: float) -> None:
    """Let the last share of the layers learn, but for batch norms: their statistics are of far more pictures."""
    import keras

    for layer in base[-max(1, round(len(base) * share)) :]:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)


def _rate(order: Order, phase: Phase) -> float:
    return order.learning_rate if phase == "head" else order.fine_tune_learning_rate


def _learner(layers: Sequence[Any], order: Order, phase: Phase) -> Any:
    """The layers as a model that learns with Adam from cross-entropy over the classes."""
    import keras

    first = next(layer for layer in layers if layer.built)
    learner = keras.Sequential([keras.Input(first.input.shape[1:]), *layers])
    learner.compile(
        keras.optimizers.Adam(_rate(order, phase)),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,  # XLA compiles anew for each size of a batch, and gains nothing on a CPU
    )
    learner.optimizer.build(learner.trainable_variables)
    return learner


def _pass(learner: Any, data: Examples, rows: Rows, batch: int, tick: Tick) -> tuple[float, float]:
    """Learn from `rows` in their order: mean loss (by class weights) and accuracy while learning."""
    loss = right = 0.0
    for start in range(0, len(rows), batch):
        chosen = rows[start : start + batch]
        labels = data.labels[chosen]
        told = learner.train_on_batch(data.inputs(chosen), labels, data.weights[labels], return_dict=True)
        loss += float(told["loss"]) * len(chosen)
        right += float(told["accuracy"]) * len(chosen)
        tick(min(1.0, (start + batch) / len(rows)))
    return loss / len(rows), right / len(rows)


def _held_out(learner: Any, data: Examples, tick: Tick) -> tuple[float, float]:
    """Mean loss and accuracy on the validation pictures; each counts the same."""
    answers = scores(learner, data.inputs, data.validation, lambda share: tick(1.0))
    truth = data.labels[data.validation]
    loss = -np.log(np.clip(answers[np.arange(len(truth)), truth], 1e-7, 1)).mean()  # clipped as Keras does
    return float(loss), float((answers.argmax(axis=1) == truth).mean())


def _values(variables: Sequence[Any]) -> list[NDArray[Any]]:
    return [np.asarray(variable) for variable in variables]


def _assign(variables: Sequence[Any], values: Sequence[NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def cool(model: Any, temperature: float) -> None:
    """Divide what goes into the softmax by `temperature`, for good: in the last layer's weights."""
    answer = model.layers[-1]
    answer.set_weights([weights / temperature for weights in answer.get_weights()])
