"""The architectures that can be served: how each is built, what it eats, and where its official weights are.

Built in code and filled with weights only; Keras is imported when one is built, never when this module is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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

    return keras.applications.EfficientNetB0(weights=None)


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
