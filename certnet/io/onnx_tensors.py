"""Numbers of an ONNX file, or of files beside it where it keeps its weights: by their exact values, as they are needed.

A file beside the model is named by the model, so it may be hostile: it has to lie in the model's folder or below, and
all numbers together must not take more memory than one file may.
"""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from certnet.io.network import LARGEST_FILE
from certnet.io.packed import Array, unreadable
from formulations import InputError
from formulations.rounding import as_double

_EXTERNAL = 1
_DAMAGE = (ValueError, TypeError, KeyError, OverflowError, MemoryError, NotImplementedError, AttributeError)
_WIDENED = ("bfloat16",)
"""Types that NumPy lacks and float32 contains."""


class Tensors:
    """Decodes the tensors of one file; floating-point numbers become float64, which holds them exactly."""

    def __init__(self, path: Path, to_array: Callable[[Any], Array]) -> None:
        self._path, self._to_array, self._bytes = path, to_array, 0

    def array(self, tensor: Any) -> Array:
        """The numbers, truth values or texts of a TensorProto."""
        name = f"{self._path.name}: the tensor {tensor.name!r}"
        try:
            if any(length < 0 for length in tensor.dims):
                raise ValueError(tensor.dims)
            if tensor.data_location == _EXTERNAL:
                tensor = self._beside(tensor, name)
            array = np.asarray(self._to_array(tensor))
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
        try:
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
        except OSError as error:
            raise unreadable(file, error) from None
        whole = type(tensor)()
        whole.CopyFrom(tensor)
        whole.ClearField("external_data")
        whole.ClearField("data_location")
        whole.raw_data = content
        return whole


def plain(array: Array, name: str) -> Array:
    """Floating-point numbers as float64, and all else as it is; refused are those that float64 cannot hold."""
    kind = array.dtype.kind
    if array.dtype.name in _WIDENED:
        array, kind = array.astype(np.float32), "f"
    if kind in "biuOUS":
        return array
    numbers = as_double(array) if kind == "f" else None
    if numbers is None:
        raise InputError(f"{name} has type {array.dtype}; export float32 weights.")
    return numbers
