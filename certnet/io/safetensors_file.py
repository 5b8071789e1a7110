"""The safetensors container: eight bytes of header length, a JSON header, then the numbers, little-endian.

The format is small enough to be read here, so that no further package is needed. Source: the specification at
https://huggingface.co/docs/safetensors.
"""

import json
import math
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from certnet.io.assembly import Array
from formulations import InputError

LARGEST_HEADER = 100_000_000
"""Bytes, the limit of the specification."""
BFLOAT16 = "BF16"
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", BFLOAT16: "<u2"}
_PREFIX = 8


def read_safetensors(path: Path) -> dict[str, Array]:
    """All tensors of a file by name, as float64 or the stored floating type.

    Raises:
        InputError: the file is damaged, or holds tensors of another type.
        OSError: the file cannot be read.
    """
    return parse(path.name, path.read_bytes())


def parse(source: str, content: bytes) -> dict[str, Array]:
    """The tensors in the bytes of a file; ``source`` names it in complaints."""
    header, begin = _header(source, content)
    tensors: dict[str, Array] = {}
    for name, entry in header.items():
        if name != "__metadata__":
            tensors[name] = _tensor(source, name, entry, memoryview(content)[begin:])
    return tensors


def _header(source: str, content: bytes) -> tuple[dict[str, Any], int]:
    damaged = InputError(f"{source} is no safetensors file or was cut off; save the network again.")
    length = int.from_bytes(content[:_PREFIX], "little")
    begin = _PREFIX + length
    if len(content) < _PREFIX or length > LARGEST_HEADER or begin > len(content):
        raise damaged
    try:
        header = json.loads(content[_PREFIX:begin].decode("utf-8"))
    except (ValueError, RecursionError):
        raise damaged from None
    if not isinstance(header, dict):
        raise damaged
    return header, begin


def _tensor(source: str, name: str, entry: Any, data: memoryview) -> Array:
    damaged = InputError(f"{source}: the entry of tensor {name!r} is damaged; save the network again.")
    if not isinstance(entry, dict):
        raise damaged
    kind, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not (_counts(shape) and _counts(offsets) and len(offsets) == 2):
        raise damaged
    if not isinstance(kind, str) or kind not in _TYPES:
        raise InputError(
            f"{source}: tensor {name!r} has type {kind}; convert the network to float32 and save it again."
        )
    dtype = np.dtype(_TYPES[kind])
    first, last = offsets
    if not (first <= last <= len(data)) or last - first != math.prod(shape) * dtype.itemsize or len(shape) > 8:
        raise damaged
    array = np.frombuffer(data[first:last], dtype=dtype).reshape(shape)
    if kind == BFLOAT16:
        # The upper half of a float32.
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def _counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(entry) is int and 0 <= entry < 2**62 for entry in value)
