"""Arrays in files: what gzip packed, NumPy archives, safetensors and ONNX; nothing is ever unpickled or executed.

Numbers of an ONNX file, or of files beside it where it keeps its weights, are read by their exact values, as they are
needed. A file beside the model is named by the model, so it may be hostile: it has to lie in the model's folder or
below, and all numbers together must not take more memory than one file may.
"""

import contextlib
import gzip
import importlib.util
import io
import json
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from formulations import InputError
from formulations.rounding import as_double

Array = NDArray[Any]
PACKED = ".gz"
LARGEST_FILE = 2**31
"""Bytes of a network's file."""
EXTERNAL = 1
"""The place of numbers that stand in another file, as TensorProto numbers it."""
_COMMON = {1: ("float_data", "<f4"), 7: ("int64_data", "<i8"), 11: ("double_data", "<f8")}
"""Where numbers of float32, int64 and float64 stand that are not raw, and their types for NumPy."""
_LOADING = threading.Lock()
LARGEST_REPORT = 2**26
"""Bytes of a report."""
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, SyntaxError, TypeError, AttributeError),
    # Encrypted members, unknown compression, and array headers with absurd shapes.
    *(RuntimeError, OverflowError, MemoryError),
)
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def ending(path: Path) -> str:
    """The ending in lower case that says what a file holds: ``.onnx`` for ``net.onnx`` and for ``net.onnx.gz``."""
    return Path(path.name.lower().removesuffix(PACKED)).suffix


@contextlib.contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Surrounds the reading of a file, and says so where the system does not hand it over."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; check the path.") from None


def read_bytes(path: Path, largest: int) -> bytes:
    """The bytes of a file, unpacked where its name ends in ``.gz``."""
    packed = path.suffix.lower() == PACKED
    with reading(path):
        try:
            # A buffer is made as large as what is asked for.
            asked = largest if packed else min(largest, path.stat().st_size)
            with gzip.open(path) if packed else path.open("rb") as file:
                content: bytes = file.read(asked + 1)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            said = f"{path.name} is no gzip file or was cut off; pack it again, or give it unpacked."
            raise InputError(said) from None
    if len(content) > largest:
        raise InputError(f"{path.name} holds more than {largest} bytes, which is the most that certnet reads of it.")
    return content


def npz_arrays(
    path: Path, damaged: str, *, largest: int, wanted: Callable[[str], bool] = lambda name: True
) -> tuple[tuple[str, ...], dict[str, Array]]:
    """The names of all arrays of an ``.npz`` file, and those arrays whose names are wanted.

    ``damaged`` is the sentence for a file that is no such archive; what is wanted may unpack to ``largest`` bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if sum(info.file_size for name, info in members.items() if wanted(name)) > largest:
                raise InputError(
                    f"{path.name} unpacks to more than {largest} bytes, the most that certnet reads; save less in it."
                )
            if len(members) < len(archive.infolist()):
                raise InputError(damaged)
            return tuple(members), {
                name: _npy(archive.read(info), path.name) for name, info in members.items() if wanted(name)
            }
    except InputError:
        raise
    except _DAMAGE:
        raise InputError(damaged) from None


def _npy(content: bytes, source: str) -> Array:
    """The array of an ``.npy`` member, within these bytes: no header can claim more memory than is there."""
    stream = io.BytesIO(content)
    shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    if dtype.hasobject:
        raise InputError(f"{source} holds pickled objects; save plain numeric or text arrays.")
    array: Array = np.ndarray(shape, dtype, content, stream.tell(), order="F" if fortran else "C")
    # A copy, because the alignment of the memory may decide about the last bits of a product.
    return array.copy(order="K")


_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def safetensors(source: str, content: bytes) -> dict[str, Array]:
    """The tensors in the bytes of a safetensors file; ``source`` is its name, for complaints."""
    from safetensors import SafetensorError, deserialize

    try:
        found = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError:
        raise InputError(f"{source} is no safetensors file or was cut off; save the network again.") from None
    arrays: dict[str, Array] = {}
    # Its order differs from time to time.
    for name, tensor in sorted(found, key=lambda entry: entry[0]):
        kind = tensor["dtype"]
        if kind not in _TYPES:
            raise InputError(
                f"{source}: tensor {name!r} has type {kind}; convert the network to float32 and save it again."
            )
        array = np.frombuffer(tensor["data"], dtype=_TYPES[kind]).reshape(tensor["shape"])
        # A bfloat16 is the upper half of a float32.
        arrays[name] = (array.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else array
    return arrays


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a report; whole numbers too large for float64 become infinite, as others do."""
    content = read_bytes(path, LARGEST_REPORT)
    try:
        found = json.loads(content, parse_int=lambda text: int(text) if len(text) < 18 else float(text))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path} is damaged: it holds no JSON object; run the command again.")
    return found


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
