"""The fast engine on a CPU: OpenVINO. Serving with it imports neither TensorFlow nor Keras.

A short-lived child converts the Keras model (converting.py); the files it leaves are kept (prepared.py).

The model is compiled twice. A picture alone gets all cores at once. A batch is cut into chunks for streams of one core
each (of several on a large machine): they never wait for one another, which matters as soon as somebody else needs a
core (the decoders do), and with few pictures at a time the activations stay small, so that both together take no more
memory than one of them with the whole batch. What was tried is in perf/RESULTS.md.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.cores import usable_cores
from service.errors import StartError
from service.inference.engines.converting import MODEL
from service.inference.engines.engine import TOLERANCE, Pixels, Scores
from service.inference.engines.prepared import probe, probe_scores
from service.inference.predictions import InputSpec
from service.memory import forget_pages, give_memory_back

STREAMS = 8  # on more cores each stream has several: batches are not that large
CHUNK = 4  # pictures that a stream computes at once; small ones are mostly the call, which is shared
CHUNK_BYTES = 2 * 224 * 224 * 3 * 4  # and no more than this in the model's own numbers: float32 is faster two by two
OPTIONS = {"INFERENCE_PRECISION_HINT": "f32"}  # not bfloat16 where the processor has it: two digits are not 1e-4


class OpenVINOEngine:
    """Runs the prepared model that `prepared` finds or makes: model.xml, model.bin, probe.npy in a folder.

    `tolerance`: how far a probability of the probe may be from what was recorded when the model was prepared.
    """

    name = "openvino"

    def __init__(
        self,
        prepared: Callable[[], Path],
        input_spec: InputSpec,
        *,
        tolerance: float = TOLERANCE,
        way_out: str = "Delete that folder and start again, or use --engine tensorflow.",
    ) -> None:
        self._prepared = prepared
        self._input = input_spec
        self._tolerance = tolerance
        self._way_out = way_out
        self._width = min(usable_cores(), STREAMS)
        self._alone: Any = None
        self._streams: Any = None
        self._idle: list[Any] = []  # requests
        self._chunk = CHUNK
        self._classes = 0

    def load(self) -> None:
        """Compile the model, then compare a probe with what was recorded. Raises StartError."""
        try:
            import openvino
        except ImportError as error:
            raise StartError(
                "OpenVINO is not installed. Way out: pip install openvino, or --engine tensorflow"
            ) from error
        folder = self._prepared()
        try:
            self._compile(openvino, folder / MODEL)
            apart = float(np.abs(self.predict(probe(self._input)) - probe_scores(folder)).max())
        except (RuntimeError, OSError, ValueError) as error:
            raise StartError(f"OpenVINO cannot run the model in {folder}: {error}") from error
        if not apart <= self._tolerance:  # NaN is refused too
            raise StartError(
                f"On this machine OpenVINO answers {apart:.2g} away from what was recorded in {folder}; at most "
                f"{self._tolerance:g} is allowed. {self._way_out}"
            )
        _give_back()

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """OpenVINO plans a shape when it first meets it: one picture alone, and chunks of each size for the streams."""
        chunks = (self._width * size for size in range(1, self._chunk + 1))
        for n in (1, *(n for n in chunks if n <= max(batch_sizes))):
            self.predict(np.zeros((n, self._input.size, self._input.size, 3), np.uint8))
        for_two = 2 * self._parts(max(batch_sizes))  # batches; while a stream computes, OpenVINO makes no request
        self._idle += [self._streams.create_infer_request() for _ in range(for_two - len(self._idle))]
        _give_back()

    def predict(self, pixels: Pixels) -> Scores:
        """uint8 (n, size, size, 3) -> float32 (n, classes). RuntimeError with OpenVINO's words if it fails."""
        return self.begin(pixels).scores()

    def begin(self, pixels: Pixels) -> "Begun":
        """Equal chunks, all asked for at once; a stream that is free takes the next without Python, be it of this batch
        or of another. What does not fill all streams is computed at the end, one by one.

        OpenVINO's own queue of requests is not used: it calls back into Python, and a queue that is destroyed in the
        meantime waits for that call with Python's lock held, for ever.
        """
        if self._alone is None:
            raise RuntimeError("predict() before load() or after close()")
        pixels = np.ascontiguousarray(pixels)
        begun = Begun(self._alone, self._idle, pixels, np.empty((len(pixels), self._classes), np.float32))
        together = len(pixels) - len(pixels) % self._width
        parts = self._parts(together)
        try:
            for chunk in np.array_split(pixels[:together], parts) if parts else ():
                begun.start(self._idle.pop() if self._idle else self._streams.create_infer_request(), chunk)
        except BaseException:
            begun.finish()
            raise
        return begun

    def _parts(self, n: int) -> int:
        """Chunks of a batch."""
        return self._width * math.ceil(n / (self._width * self._chunk))

    def close(self) -> None:
        """Let the model go. Twice is once."""
        self._alone, self._streams, self._idle = None, None, []
        give_memory_back()

    def _compile(self, openvino: Any, file: Path) -> None:
        core, threads = openvino.Core(), {"INFERENCE_NUM_THREADS": str(usable_cores())}
        model = core.read_model(file)
        alone = core.compile_model(model, "CPU", OPTIONS | threads | {"NUM_STREAMS": "1"})
        self._streams = alone
        if self._width > 1:
            self._streams = core.compile_model(model, "CPU", OPTIONS | threads | {"NUM_STREAMS": str(self._width)})

        number_bytes = 1 if any(node.get_type_name() == "FakeQuantize" for node in model.get_ops()) else 4
        self._chunk = min(CHUNK, max(1, CHUNK_BYTES // (self._input.size**2 * 3 * number_bytes)))
        self._classes = int(alone.output(0).partial_shape[1].get_length())
        self._alone = alone.create_infer_request()


class Begun:
    """A batch whose chunks the streams compute; the pictures that are left over are computed when it is asked for."""

    def __init__(self, alone: Any, idle: list[Any], pixels: Pixels, scores: Scores) -> None:
        self._alone, self._idle = alone, idle
        self._pixels, self._scores = pixels, scores
        self._started: list[Any] = []
        self._done = 0

    def start(self, request: Any, chunk: Pixels) -> None:
        """These are the next."""
        request.start_async([chunk], share_inputs=True)
        self._started.append(request)

    def wait(self, seconds: float) -> bool:
        """Whether the streams are done, after at most so long."""
        try:
            return not self._started or bool(self._started[-1].wait_for(round(seconds * 1000)))
        except RuntimeError:  # finish() says it
            return True

    def scores(self) -> Scores:
        """float32 (n, classes). RuntimeError with OpenVINO's words if it failed."""
        self.finish()
        for place in range(self._done, len(self._pixels)):
            self._alone.infer([self._pixels[place : place + 1]], share_inputs=True)
            self._scores[place] = self._alone.get_output_tensor(0).data[0]
        return self._scores

    def finish(self) -> None:
        """Wait for all, also after one has failed: they read pictures that nobody keeps any longer. Raises
        RuntimeError."""
        failures: list[RuntimeError] = []
        for request in self._started:
            try:
                request.wait()
                part = request.get_output_tensor(0).data
                self._scores[self._done : self._done + len(part)] = part
                self._done += len(part)
            except RuntimeError as error:
                failures.append(error)
        self._idle += self._started
        self._started = []
        if failures:
            raise failures[0]


def _give_back() -> None:
    """The weights as they are on disk were read once, to be packed; most of the library only to be linked."""
    forget_pages("libopenvino")
    forget_pages(r"model\.bin")
    give_memory_back()
