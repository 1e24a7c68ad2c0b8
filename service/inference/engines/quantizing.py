"""OpenVINO float32 model -> OpenVINO int8 model, by NNCF's post-training quantization. The only importer of NNCF.

Both are folders as prepared.py has them: model.xml, model.bin, probe.npy. A layer is a convolution or a matrix
product, by the name it has in model.xml, the same in both. NNCF's symmetric preset and fast bias correction: on
MobileNetV2 the asymmetric one, and the full correction in twice the time, were no closer to float32 (perf/RESULTS.md).
"""

import contextlib
import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import GlimtError, StartError
from service.inference.engines.converting import MODEL
from service.inference.engines.engine import Pixels, Scores
from service.inference.engines.openvino import OPTIONS
from service.inference.engines.prepared import PROBE, probe
from service.inference.predictions import InputSpec

WEIGHTS = "model.bin"
"""What openvino.save_model writes beside model.xml."""
WEIGHTED = {"Convolution", "GroupConvolution", "MatMul"}
PASSED_THROUGH = {"Transpose", "Reshape", "MaxPool"}
"""What may stand between a layer and the quantizer of its input without changing any number."""


def require_nncf() -> None:
    """Raises StartError when NNCF is not installed."""
    if importlib.util.find_spec("nncf") is None:
        raise StartError("NNCF is not installed. Way out: pip install 'glimt[quantize]'")


def quantize(prepared: Path, pictures: Pixels, spec: InputSpec, result: Path, in_float: Sequence[str] = ()) -> None:
    """Write the int8 model of the float32 model in `prepared` into the new folder `result`, but for layers `in_float`.

    `pictures`, uint8 (n, size, size, 3), show NNCF the range of every activation. 10 s for ResNet50 and 100 pictures.
    Raises GlimtError with NNCF's words.
    """
    import openvino

    nncf = _nncf()
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # its progress bars
            model = nncf.quantize(
                openvino.Core().read_model(prepared / MODEL),
                nncf.Dataset([picture[None] for picture in pictures]),
                subset_size=len(pictures),
                preset=nncf.QuantizationPreset.PERFORMANCE,
                fast_bias_correction=True,
                ignored_scope=nncf.IgnoredScope(names=list(in_float)),
            )
        result.mkdir()
        openvino.save_model(model, result / MODEL, compress_to_fp16=False)
    except Exception as error:  # NNCF raises many types of its own
        raise GlimtError(f"NNCF could not quantize the model: {' '.join(str(error).split())}") from error
    np.save(result / PROBE, _scores(openvino.Core().read_model(result / MODEL), probe(spec)))


def layers(quantized: Path) -> list[str]:
    """The layers of the int8 model that compute in int8."""
    return list(_layers_in_int8(_read(quantized)))


def worst_layers(prepared: Path, quantized: Path, pictures: Pixels) -> list[str]:
    """The int8 model's layers, the one first that alone, in int8, moves the float32 probabilities most.

    One after the other is put into the float32 model: a minute for ResNet50 and 16 pictures. (NNCF's own accuracy
    control takes one after the other *out* of the int8 model, which shows nothing where two are to blame.)
    """
    int8 = _layers_in_int8(_read(quantized))
    expected = _scores(_read(prepared), pictures)
    moved = {}
    for name, layer in int8.items():
        model = _read(prepared)
        _put_in_place_of(_layers(model)[name], layer)
        model.validate_nodes_and_infer_types()
        moved[name] = float(np.abs(_scores(model, pictures) - expected).mean())
    return sorted(moved, key=lambda name: -moved[name])


def _nncf() -> Any:
    """The package, its telemetry declined (openvino_telemetry asks for CI once, when imported) and its log quiet."""
    require_nncf()
    with _environment("CI", "true"):
        import nncf
    nncf.set_log_level(logging.ERROR)
    return nncf


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _read(folder: Path) -> Any:
    import openvino

    return openvino.Core().read_model(folder / MODEL)


def _scores(model: Any, pictures: Pixels) -> Scores:
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU", OPTIONS)
    batches = [compiled(pictures[start : start + 8])[0].copy() for start in range(0, len(pictures), 8)]
    return np.concatenate(batches)


def _layers(model: Any) -> dict[str, Any]:
    return {node.get_friendly_name(): node for node in model.get_ordered_ops() if node.get_type_name() in WEIGHTED}


def _layers_in_int8(model: Any) -> dict[str, Any]:
    """Those whose weights are computed from integers, not a plain constant."""
    return {name: node for name, node in _layers(model).items() if _source(node, 1).get_type_name() != "Constant"}


def _source(node: Any, port: int) -> Any:
    return node.input_value(port).get_node()


def _put_in_place_of(layer: Any, int8: Any) -> None:
    """Give a float32 layer the weights, the bias and the rounding of the input of its int8 twin."""
    from openvino import opset13

    layer.input(1).replace_source_output(int8.input_value(1))
    if (quantizer := _input_quantizer(int8)) is not None:
        ranges = [quantizer.input_value(port) for port in range(1, 5)]
        rounded = opset13.fake_quantize(layer.input_value(0), *ranges, quantizer.get_attributes()["levels"])
        layer.input(0).replace_source_output(rounded.output(0))
    bias, corrected = _bias(layer), _bias(int8)
    if bias is not None and corrected is not None:
        bias.replace_source_output(corrected.get_source_output())


def _input_quantizer(layer: Any) -> Any:
    node = _source(layer, 0)
    while node.get_type_name() in PASSED_THROUGH:
        node = _source(node, 0)
    return node if node.get_type_name() == "FakeQuantize" else None


def _bias(layer: Any) -> Any:
    """The place in the following addition where the layer's bias comes in, None when it has none."""
    following = [target.get_node() for target in layer.output(0).get_target_inputs()]
    if len(following) != 1 or following[0].get_type_name() != "Add":
        return None
    return following[0].input(1) if _source(following[0], 1).get_type_name() == "Constant" else None
