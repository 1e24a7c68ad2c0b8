"""A session over TensorFlow's C API: a frozen graph in, scores out. Knows nothing of Keras.

Why not `import tensorflow`: the Python package alone is 610 MB resident and takes three seconds, the library
below it 346 MB and 0.4 s. The C API is small and among what TensorFlow keeps compatible between versions
(https://www.tensorflow.org/guide/versions, tensorflow/c/c_api.h); only this file speaks it.
"""

import contextlib
import ctypes
import importlib.util
import os
from collections.abc import Iterator
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import StartError
from service.inference.engines.engine import Pixels, Scores

UINT8 = 4  # TF_UINT8, tensorflow/c/tf_datatype.h


class _Buffer(ctypes.Structure):
    _fields_ = (("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p))


class _Output(ctypes.Structure):
    _fields_ = (("operation", c_void_p), ("index", c_int))


# fmt: off
PROTOTYPES: dict[str, tuple[Any, ...]] = {  # name: result, then arguments, as in tensorflow/c/c_api.h
    "TF_NewStatus": (c_void_p,),
    "TF_DeleteStatus": (None, c_void_p),
    "TF_GetCode": (c_int, c_void_p),
    "TF_Message": (c_char_p, c_void_p),
    "TF_NewGraph": (c_void_p,),
    "TF_DeleteGraph": (None, c_void_p),
    "TF_NewImportGraphDefOptions": (c_void_p,),
    "TF_DeleteImportGraphDefOptions": (None, c_void_p),
    "TF_GraphImportGraphDef": (None, c_void_p, POINTER(_Buffer), c_void_p, c_void_p),
    "TF_GraphOperationByName": (c_void_p, c_void_p, c_char_p),
    "TF_NewSessionOptions": (c_void_p,),
    "TF_DeleteSessionOptions": (None, c_void_p),
    "TF_SetConfig": (None, c_void_p, c_char_p, c_size_t, c_void_p),
    "TF_NewSession": (c_void_p, c_void_p, c_void_p, c_void_p),
    "TF_CloseSession": (None, c_void_p, c_void_p),
    "TF_DeleteSession": (None, c_void_p, c_void_p),
    "TF_SessionRun": (None, c_void_p, c_void_p, POINTER(_Output), POINTER(c_void_p), c_int,
                      POINTER(_Output), POINTER(c_void_p), c_int, c_void_p, c_int, c_void_p, c_void_p),
    "TF_AllocateTensor": (c_void_p, c_int, POINTER(c_int64), c_int, c_size_t),
    "TF_TensorData": (c_void_p, c_void_p),
    "TF_NumDims": (c_int, c_void_p),
    "TF_Dim": (c_int64, c_void_p, c_int),
    "TF_DeleteTensor": (None, c_void_p),
}
# fmt: on


class GraphSession:
    """One graph, one input, one output. Several threads may `run`. RuntimeError carries TensorFlow's words."""

    def __init__(self, graph: NDArray[np.uint8], options: bytes, input_name: str, output_name: str) -> None:
        """`graph` is a serialised GraphDef, `options` a serialised ConfigProto."""
        self._tf = library()
        self._status = self._tf.TF_NewStatus()
        self._graph = self._tf.TF_NewGraph()
        self._import(graph)
        self._input, self._output = self._end(input_name), self._end(output_name)
        session_options = self._tf.TF_NewSessionOptions()
        self._tf.TF_SetConfig(session_options, options, len(options), self._status)
        self._check()
        self._session = self._tf.TF_NewSession(self._graph, session_options, self._status)
        self._tf.TF_DeleteSessionOptions(session_options)
        self._check()

    def run(self, pixels: Pixels) -> Scores:
        """uint8 (n, h, w, 3) -> float32 (n, classes). The GIL is free meanwhile."""
        tensor_in, tensor_out = c_void_p(self._tensor(pixels)), c_void_p()
        status = self._tf.TF_NewStatus()
        try:
            self._tf.TF_SessionRun(
                self._session, None, self._input, tensor_in, 1, self._output, tensor_out, 1, None, 0, None, status
            )
            self._check(status)
            return self._array(tensor_out)
        finally:
            self._tf.TF_DeleteTensor(tensor_in)
            self._tf.TF_DeleteTensor(tensor_out)
            self._tf.TF_DeleteStatus(status)

    def close(self) -> None:
        """Give everything back; nothing may be called afterwards."""
        self._tf.TF_CloseSession(self._session, self._status)
        self._tf.TF_DeleteSession(self._session, self._status)
        self._tf.TF_DeleteGraph(self._graph)
        self._tf.TF_DeleteStatus(self._status)

    def _import(self, graph: NDArray[np.uint8]) -> None:
        options = self._tf.TF_NewImportGraphDefOptions()
        buffer = _Buffer(graph.ctypes.data, graph.nbytes, None)
        self._tf.TF_GraphImportGraphDef(self._graph, buffer, options, self._status)
        self._tf.TF_DeleteImportGraphDefOptions(options)
        self._check()

    def _end(self, name: str) -> _Output:
        operation = self._tf.TF_GraphOperationByName(self._graph, name.encode())
        if not operation:
            raise RuntimeError(f"the graph has no operation {name}")
        return _Output(operation, 0)

    def _tensor(self, pixels: Pixels) -> int:
        pixels = np.ascontiguousarray(pixels, np.uint8)
        tensor: int = self._tf.TF_AllocateTensor(
            UINT8, (c_int64 * pixels.ndim)(*pixels.shape), pixels.ndim, pixels.nbytes
        )
        ctypes.memmove(self._tf.TF_TensorData(tensor), pixels.ctypes.data, pixels.nbytes)
        return tensor

    def _array(self, tensor: c_void_p) -> Scores:
        shape = tuple(self._tf.TF_Dim(tensor, axis) for axis in range(self._tf.TF_NumDims(tensor)))
        array = np.empty(shape, np.float32)
        ctypes.memmove(array.ctypes.data, self._tf.TF_TensorData(tensor), array.nbytes)
        return array

    def _check(self, status: int | None = None) -> None:
        status = status or self._status
        if self._tf.TF_GetCode(status):
            raise RuntimeError(self._tf.TF_Message(status).decode(errors="replace"))


@cache
def library() -> ctypes.CDLL:
    """The shared library inside the installed tensorflow package, opened once. Raises StartError."""
    package = importlib.util.find_spec("tensorflow")
    folders = [Path(folder) for folder in (package and package.submodule_search_locations) or ()]
    found = [path for folder in folders for path in sorted(folder.glob("libtensorflow_cc*"))]
    if not found:
        raise StartError("TensorFlow is not installed, or without libtensorflow_cc. Way out: pip install tensorflow")
    try:
        with _quiet():
            tf = ctypes.CDLL(str(found[0]))
    except OSError as error:
        raise StartError(f"TensorFlow cannot be opened: {error}") from error
    for name, (result, *arguments) in PROTOTYPES.items():
        function = getattr(tf, name)
        function.restype, function.argtypes = result, arguments
    return tf


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the three lines that TensorFlow writes on standard error when opened, whatever its log level."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
