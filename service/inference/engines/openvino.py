"""The fast engine on a CPU: OpenVINO. Serving with it imports neither TensorFlow nor Keras.

A short-lived child converts the Keras model (converting.py); the files it leaves are kept (prepared.py). One stream
with all cores: on the machines measured (perf/RESULTS.md) two streams of one core each, static shapes, and other
thread pinning gave nothing beside the decode threads, and streams take the weights' memory twice.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import StartError
from service.inference.engines.converting import MODEL
from service.inference.engines.engine import TOLERANCE, Pixels, Scores
from service.inference.engines.memory import forget_pages, give_memory_back
from service.inference.engines.prepared import probe, probe_scores
from service.inference.predictions import InputSpec

OPTIONS = {
    "PERFORMANCE_HINT": "LATENCY",  # all cores on one batch; its throughput is that of streams, see above
    "INFERENCE_PRECISION_HINT": "f32",  # not bfloat16 where the processor has it: two digits are not 1e-4
}


class OpenVINOEngine:
    """Runs the prepared model that `prepared` finds or makes: model.xml, model.bin, probe.npy in a folder.

    `tolerance`: how far a probability of the probe may be from what was recorded when the model was prepared.
    """

    name = "openvino"

    def __init__(self, prepared: Callable[[], Path], input_spec: InputSpec, *, tolerance: float = TOLERANCE) -> None:
        self._prepared = prepared
        self._input = input_spec
        self._tolerance = tolerance
        self._request: Any = None

    def load(self) -> None:
        """Compile the model, then compare a probe with what was recorded. Raises StartError."""
        folder = self._prepared()
        try:
            import openvino
        except ImportError as error:
            raise StartError(
                "OpenVINO is not installed. Way out: pip install openvino, or --engine tensorflow"
            ) from error
        try:
            compiled = openvino.Core().compile_model(folder / MODEL, "CPU", OPTIONS)
            self._request = compiled.create_infer_request()
            apart = float(np.abs(self.predict(probe(self._input)) - probe_scores(folder)).max())
        except (RuntimeError, OSError, ValueError) as error:
            raise StartError(f"OpenVINO cannot run the model in {folder}: {error}") from error
        if not apart <= self._tolerance:  # NaN is refused too
            raise StartError(
                f"On this machine OpenVINO answers {apart:.2g} away from what was recorded in {folder}; at most "
                f"{self._tolerance:g} is allowed. Delete that folder and start again, or use --engine tensorflow."
            )
        _give_back()

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """OpenVINO plans each batch size when it first meets it."""
        for n in batch_sizes:
            self.predict(np.zeros((n, self._input.size, self._input.size, 3), np.uint8))
        _give_back()

    def predict(self, pixels: Pixels) -> Scores:
        """uint8 (n, size, size, 3) -> float32 (n, classes). RuntimeError with OpenVINO's words if it fails."""
        if self._request is None:
            raise RuntimeError("predict() before load() or after close()")
        self._request.infer([np.ascontiguousarray(pixels)], share_inputs=True)
        scores: Scores = self._request.get_output_tensor(0).data.copy()
        return scores

    def close(self) -> None:
        """Let the model go. Twice is once."""
        self._request = None
        give_memory_back()


def _give_back() -> None:
    """The weights as they are on disk were read once, to be packed; most of the library only to be linked."""
    forget_pages("libopenvino")
    forget_pages(r"model\.bin")
    give_memory_back()
