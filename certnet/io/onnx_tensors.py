"""Numbers of an ONNX file, or of files beside it where it keeps its weights: by their exact values, as they are needed.

A file beside the model is named by the model, so it may be hostile: it has to lie in the model's folder or below, and
all numbers together must not take more memory than one file may.
"""

import importlib.util
import sys
import threading
from importlib.machinery import PathFinder
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from certnet.io.network import LARGEST_FILE
from certnet.io.packed import Array, reading
from formulations import InputError
from formulations.rounding import as_double

EXTERNAL = 1
"""The place of numbers that stand in another file, as TensorProto numbers it."""
_DAMAGE = (ValueError, TypeError, KeyError, OverflowError, MemoryError, NotImplementedError, AttributeError)
_COMMON = {1: ("float_data", "<f4"), 7: ("int64_data", "<i8"), 11: ("double_data", "<f8")}
"""Where numbers of float32, int64 and float64 stand that are not raw, and their types for NumPy."""
_LOADING = threading.Lock()


def part_of_onnx(name: str) -> Any:
    """A module of the onnx package; alone, as importing all of the package takes longer than proving a small box."""
    name = f"onnx.{name}"
    with _LOADING:
        if name not in sys.modules:
            package = importlib.util.find_spec("onnx")
            spec = package and PathFinder.find_spec(name, package.submodule_search_locations)
            if spec is None or spec.loader is None:
                raise ImportError(name)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            sys.modules[name] = module  # the package, imported later, has to find it
        return sys.modules[name]


def to_array(tensor: Any) -> Array:
    """The numbers, truth values or texts of a TensorProto, which are in it; bytes that do not fit are a ValueError."""
    if tensor.data_type not in _COMMON or tensor.HasField("segment"):
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(tensor))
    field, kind = _COMMON[tensor.data_type]
    inside = tensor.HasField("raw_data")
    values = np.frombuffer(tensor.raw_data, kind) if inside else np.array(getattr(tensor, field), kind)
    return values.astype(kind[1:], copy=False).reshape(tensor.dims)


class Tensors:
    """Decodes the tensors of one file; floating-point numbers become float64, which holds them exactly."""

    def __init__(self, path: Path) -> None:
        self._path, self._bytes = path, 0

    def array(self, tensor: Any) -> Array:
        name = f"{self._path.name}: the tensor {tensor.name!r}"
        try:
            if any(length < 0 for length in tensor.dims):
                raise ValueError(tensor.dims)
            if tensor.data_location == EXTERNAL:
                tensor = self._beside(tensor, name)
            array = to_array(tensor)
        except InputError:
            raise
        except _DAMAGE:
            raise InputError(f"{name} is damaged; export the network again.") from None
        self._bytes += array.nbytes
        if self._bytes > LARGEST_FILE:
            raise InputError(
                f"{self._path.name} holds more than {LARGEST_FILE} bytes of numbers, the most that are read."
            )
        return plain(array, name)

    def _beside(self, tensor: Any, name: str) -> Any:
        """The tensor with its numbers inside, of the file that it names."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        place = PurePosixPath(entries.get("location", ""))
        file = self._path.parent / place
        with reading(file):
            inside = file.resolve().is_relative_to(self._path.parent.resolve()) and not place.is_absolute()
            if not inside or ".." in place.parts or "\\" in str(place) or not file.is_file():
                raise InputError(
                    f"{name} has its numbers in {str(place)[:80]!r}, which is missing or does not lie beside the "
                    "model; put it there, or export a single file."
                )
            size, start = file.stat().st_size, int(entries.get("offset", "0"))
            length = int(entries.get("length", size - start))
            if start < 0 or length < 0 or start + length > size or self._bytes + length > LARGEST_FILE:
                raise ValueError(length)
            with file.open("rb") as stream:
                stream.seek(start)
                content = stream.read(length)
        return type(tensor)(dims=tensor.dims, data_type=tensor.data_type, raw_data=content)


def plain(array: Array, name: str) -> Array:
    """Floating-point numbers as float64, and all else as it is; refused are those that float64 cannot hold."""
    kind = array.dtype.kind
    if array.dtype.name == "bfloat16":  # which NumPy lacks, and float32 contains
        array, kind = array.astype(np.float32), "f"
    if kind in "biuOUS":
        return array
    numbers = as_double(array) if kind == "f" else None
    if numbers is None:
        raise InputError(f"{name} has type {array.dtype}; export float32 weights.")
    return numbers
