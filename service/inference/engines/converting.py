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
    pad_in_pooling(converted)
    openvino.save_model(converted, folder / MODEL, compress_to_fp16=False)


def pad_in_pooling(model: Any) -> None:
    """Let a max pooling pad for itself where zeros are put around a ReLU's answer for it: exact.

    A pooling pads with minus infinity. A zero wins no more than that where every window holds a number of the ReLU's,
    as it does when the padding is narrower than the window. ResNet50 gains 0.5 %, and 20 MB without the padded copy.
    """
    for pool in model.get_ordered_ops():
        if pool.get_type_name() != "MaxPool" or not _is_plain(pool):
            continue
        padding = pool.input_value(0).get_node()
        begin, end = _zeros_around_relu(padding)
        kernel = pool.get_attributes()["kernel"]
        if begin and all(0 <= size < most for size, most in zip(begin + end, kernel + kernel, strict=True)):
            pool.input(0).replace_source_output(padding.input_value(0))
            pool.set_attribute("auto_pad", "explicit")
            pool.set_attribute("pads_begin", begin)
            pool.set_attribute("pads_end", end)
    model.validate_nodes_and_infer_types()


def _is_plain(pool: Any) -> bool:
    """Whether it neither pads nor leaves gaps, and stops at its input's edge."""
    how = pool.get_attributes()
    return how["auto_pad"] == "valid" and how["rounding_type"] == "floor" and set(how["dilations"]) == {1}


def _zeros_around_relu(node: Any) -> tuple[list[int], list[int]]:
    """How many zeros it puts before and after each spatial axis of (n, channels, ...); empty if it is no such node."""
    if node.get_type_name() != "Pad" or node.get_attributes()["pad_mode"] != "constant":
        return [], []
    given, *rest = (node.input_value(port).get_node() for port in range(node.get_input_size()))
    if given.get_type_name() != "Relu" or any(part.get_type_name() != "Constant" for part in rest):
        return [], []
    begin, end, *value = (part.get_data().tolist() for part in rest)
    outside = begin[:2] + end[:2] + value
    return ([], []) if any(outside) else (begin[2:], end[2:])
