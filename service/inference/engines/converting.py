"""Keras model -> OpenVINO's intermediate representation, for openvino.py. Runs in the child process of preparing.py."""

import warnings
from pathlib import Path
from typing import Any

MODEL = "model.xml"
"""The graph; its weights are beside it, in model.bin."""


def convert(model: Any, folder: Path) -> None:
    """Convert a model that takes uint8 pixels; the files go into `folder`, with weights in full float32."""
    import openvino

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns about the form of the converter's input
        converted = openvino.convert_model(model)
    openvino.save_model(converted, folder / MODEL, compress_to_fp16=False)
