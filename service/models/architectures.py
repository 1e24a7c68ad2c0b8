"""The architectures that can be served: how each is built, what it eats, and where its official weights are.

Built in code and filled with weights only; Keras is imported when one is built, never when this module is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from service.inference.predictions import InputSpec


@dataclass(frozen=True, slots=True)
class OfficialWeights:
    """Keras's published ImageNet weights: `path` is relative to `settings.weights_site`.

    `md5` is what Keras publishes for the file in its own source, None where it publishes none.
    """

    path: str
    md5: str | None

    @property
    def file_name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Architecture:
    """`build` returns a Keras model with random weights, `input` pixels -> float32 (n, `classes`) probabilities."""

    name: str
    input: InputSpec
    classes: int
    build: Callable[[], Any]
    official: OfficialWeights | None = None
    recipe: "Recipe | None" = None


def build_resnet50() -> Any:
    """He et al., https://arxiv.org/abs/1512.03385; 25.6 M weights."""
    import keras

    return keras.applications.ResNet50(weights=None)


def build_mobilenet_v2() -> Any:
    """Sandler et al., https://arxiv.org/abs/1801.04381; 3.5 M weights."""
    import keras

    return keras.applications.MobileNetV2(weights=None)


def build_efficientnet_b0() -> Any:
    """Tan and Le, https://arxiv.org/abs/1905.11946; 5.3 M weights. Scales its pixels itself."""
    import keras

    return as_pretrained(keras.applications.EfficientNetB0(weights=None))


def as_pretrained(model: Any) -> Any:
    """An EfficientNet as Keras builds it for its ImageNet weights: those were made with pixels divided once more by the
    root of the ImageNet deviation, a layer that it leaves out where no weights are asked for (efficientnet.py)."""
    from keras.layers import Normalization, Rescaling
    from keras.models import clone_model

    once_more = Rescaling([0.229**-0.5, 0.224**-0.5, 0.225**-0.5])

    def call(layer: Any, *inputs: Any, **how: Any) -> Any:
        answer = layer(*inputs, **how)
        return once_more(answer) if isinstance(layer, Normalization) else answer

    return clone_model(model, call_function=call)


def build_demo() -> Any:
    """A small CNN for 32x32 pictures of digits; 79 thousand weights. scripts/train_demo.py trains it."""
    from keras import Input, Sequential
    from keras.layers import BatchNormalization, Conv2D, Dense, Dropout, GlobalAveragePooling2D, ReLU

    model = Sequential([Input((32, 32, 3))], name="demo")
    for filters, strides in ((24, 2), (32, 1), (48, 2), (64, 1), (64, 2)):
        model.add(Conv2D(filters, 3, strides, padding="same", use_bias=False))
        model.add(BatchNormalization(momentum=0.9))
        model.add(ReLU())
    model.add(GlobalAveragePooling2D())
    model.add(Dropout(0.2))
    model.add(Dense(10, activation="softmax"))
    return model


# Paths and hashes as in keras/src/applications of Keras 3.15: resnet.py (BASE_WEIGHTS_PATH, WEIGHTS_HASHES),
# mobilenet_v2.py (BASE_WEIGHT_PATH; it publishes no hash), efficientnet.py (whose BASE_WEIGHTS_PATH is a sibling of
# the others', hence the ../..).
ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            "resnet50",
            InputSpec(224, "caffe"),
            1000,
            build_resnet50,
            OfficialWeights(
                "resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5", "2cb95161c43110f7111970584f804107"
            ),
        ),
        Architecture(
            "mobilenet_v2",
            InputSpec(224, "tf"),
            1000,
            build_mobilenet_v2,
            OfficialWeights("mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5", None),
        ),
        Architecture(
            "efficientnet_b0",
            InputSpec(224, "raw"),
            1000,
            build_efficientnet_b0,
            OfficialWeights("../../keras-applications/efficientnetb0.h5", "902e53a9f72be733fc0bcb005b3ebbac"),
        ),
        Architecture("demo", InputSpec(32, "unit"), 10, build_demo),
    )
}

Backbone = Literal["mobilenet_v2", "resnet50", "efficientnet_b0", "cnn"]
"""What a trained network looks with. `cnn` is a small one of our own, trained from nothing."""
BACKBONES: tuple[Backbone, ...] = get_args(Backbone)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A network for classes of one's own: backbone -> global average pooling -> dropout -> dense + ReLU -> dropout ->
    dense + softmax. `size`: pixels of a side; `dense`: units, 0 leaves that layer out; `dropout` in [0, 1).

    The ranges are checked where one is read from a manifest, which may come from elsewhere."""

    backbone: Backbone
    classes: Annotated[int, Field(ge=2, le=10_000)]
    size: Annotated[int, Field(ge=32, le=512)] = 224
    dense: Annotated[int, Field(ge=0, le=4096)] = 256
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3


def trained(recipe: Recipe) -> Architecture:
    """What a recipe's network eats and how it is built, to be served like the others."""
    return Architecture(
        recipe.backbone, input_of(recipe), recipe.classes, partial(build_trained, recipe), recipe=recipe
    )


def input_of(recipe: Recipe) -> InputSpec:
    """Pixels as the backbone's authors want them; our own CNN takes them in [0, 1]."""
    known = ARCHITECTURES.get(recipe.backbone)
    return InputSpec(recipe.size, known.input.normalisation if known else "unit")


def build_trained(recipe: Recipe) -> Any:
    """The Keras model with random weights. Flat: every layer is one of its own, none is nested."""
    import keras

    base = build_backbone(recipe)
    features = keras.layers.GlobalAveragePooling2D(name="features")(base.outputs[0])
    answer = keras.layers.Dropout(recipe.dropout)(features)
    if recipe.dense:
        answer = keras.layers.Dense(recipe.dense, activation="relu")(answer)
        answer = keras.layers.Dropout(recipe.dropout)(answer)
    answer = keras.layers.Dense(recipe.classes, activation="softmax", name="answer")(answer)
    return keras.Model(base.inputs[0], answer, name=recipe.backbone)


def build_backbone(recipe: Recipe) -> Any:
    """The part before the pooling: normalised pixels -> its last feature maps, random weights."""
    import keras

    shape = (recipe.size, recipe.size, 3)
    if recipe.backbone == "mobilenet_v2":
        return keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=shape)
    if recipe.backbone == "resnet50":
        return keras.applications.ResNet50(weights=None, include_top=False, input_shape=shape)
    if recipe.backbone == "efficientnet_b0":
        return as_pretrained(keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=shape))
    return build_cnn(shape)


def build_cnn(shape: tuple[int, int, int]) -> Any:
    """Blocks of two convolutions, each block with twice the filters on half the side."""
    from keras import Input, Sequential
    from keras.layers import BatchNormalization, Conv2D, MaxPooling2D, ReLU

    model = Sequential([Input(shape)], name="cnn")
    for filters in (32, 64, 128):
        for _ in range(2):
            model.add(Conv2D(filters, 3, padding="same", use_bias=False))
            model.add(BatchNormalization(momentum=0.9))
            model.add(ReLU())
        model.add(MaxPooling2D(2))
    return model
