"""Bytes that gzip may have packed, NumPy archives and safetensors; nothing is ever unpickled or executed."""

import contextlib
import gzip
import io
import json
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from formulations import InputError

Array = NDArray[Any]
PACKED = ".gz"
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
    path: Path, damaged: str, *, wanted: Callable[[str], bool] = lambda name: True, largest: float = math.inf
) -> tuple[tuple[str, ...], dict[str, Array]]:
    """The names of all arrays of an ``.npz`` file, and those arrays whose names are wanted.

    ``damaged`` is the sentence for a file that is no such archive; it may unpack to ``largest`` bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if sum(info.file_size for info in archive.infolist()) > largest:
                raise InputError(f"{path.name} unpacks to more than {largest} bytes, the most that certnet reads.")
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
