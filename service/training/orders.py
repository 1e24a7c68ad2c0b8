"""What is asked of a training run, with the defaults. Pure values."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.models.architectures import Backbone, Recipe
from service.models.names import NAME

CNN_SIZE, BACKBONE_SIZE = 64, 224
"""Pixels of a side when nobody says: what our own CNN learns quickly from, and what the backbones were made for."""


class Order(BaseModel):
    """Frozen. `source` is a path on this machine: a folder of class folders, a zip of them, or a CSV of path and label.

    Training has two phases: `epochs` of the new top alone, then `fine_tune_epochs` of the backbone's last layers too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=f"^{NAME}$", description="What the model will be called.")
    source: str = Field(min_length=1, max_length=4096, description="Folder of class folders, zip of them, or CSV.")
    extends: str | None = Field(
        None, max_length=64, description="An earlier run: its pictures are taken too, each in the set it was in."
    )
    backbone: Backbone = Field("mobilenet_v2", description="mobilenet_v2, resnet50, efficientnet_b0, or cnn.")
    weights: str = Field(
        "imagenet", max_length=4096, description="imagenet (as for serving), random, or a file; cnn has random ones."
    )
    size: int | None = Field(None, ge=32, le=512, description="Pixels of a side; else 224, and 64 for cnn.")
    dense: int = Field(256, ge=0, le=4096, description="Units of the layer before the answer; 0 = none.")
    dropout: float = Field(0.3, ge=0, lt=1, description="Share of units left out while learning.")
    epochs: int = Field(20, ge=1, le=1000, description="Passes over the pictures for the new layers, at most.")
    fine_tune_epochs: int = Field(5, ge=0, le=1000, description="Passes for the backbone's last layers, at most.")
    fine_tune_share: float = Field(0.3, gt=0, le=1, description="Of the backbone's layers, the last ones that learn.")
    batch: int = Field(32, ge=1, le=512, description="Pictures in one step.")
    learning_rate: float = Field(0.001, gt=0, le=1, description="Of Adam, for the new layers.")
    fine_tune_learning_rate: float = Field(1e-5, gt=0, le=1, description="Of Adam, for the backbone's last layers.")
    patience: int = Field(5, ge=1, le=1000, description="Epochs without a better validation loss until it stops.")
    augment: bool = Field(
        False, description="Turn, shift, shear, zoom and flip the pictures, each time otherwise; slower on a CPU."
    )
    class_weights: bool = Field(True, description="Rare classes count more, so that each class counts the same.")
    validation: float = Field(0.2, gt=0, le=0.5, description="Share of each class that chooses the best epoch.")
    test: float = Field(0.2, gt=0, le=0.5, description="Share of each class that it never sees, to measure it with.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="The same seed shares out and begins alike.")
    compare_with: str | None = Field(
        None, max_length=130, description="The model to beat, as NAME or NAME:VERSION; else the one that is served."
    )
    origin: Literal["upload", "folder", "feedback"] = "folder"

    @model_validator(mode="after")
    def _leaves_some_to_learn_from(self) -> "Order":
        if self.validation + self.test > 0.8:
            raise ValueError("validation and test together leave less than a fifth of the pictures to learn from")
        return self

    @property
    def input_size(self) -> int:
        """Pixels of a side."""
        return self.size or (CNN_SIZE if self.backbone == "cnn" else BACKBONE_SIZE)

    def recipe(self, classes: int) -> Recipe:
        """The network for so many classes."""
        return Recipe(self.backbone, classes, self.input_size, self.dense, self.dropout)
