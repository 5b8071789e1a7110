"""Proofs of an audit in a few kB each: the arrays of their cases, without the network and the property.

Who reads one attaches it to the network and the property in question, and has the checker decide.
"""

import base64
import binascii
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from certificates.certificate import CaseProof
from certificates.container import CASE_PROOF, MAX_CASES, Array, made_of, members

LARGEST_BYTES = 1 << 25
"""Of the arrays together."""
LARGEST_TEXT = 1 << 20


def pack(proofs: Sequence[CaseProof]) -> dict[str, Any] | None:
    """A JSON object of shapes and bytes, or None where it would be too large."""
    cases = [[np.asarray(value, dtype) for _, (dtype, _), value in members(CASE_PROOF, proof, "")] for proof in proofs]
    raw = b"".join(array.tobytes() for case in cases for array in case)
    text = base64.b64encode(zlib.compress(raw)).decode()
    if len(raw) > LARGEST_BYTES or len(text) > LARGEST_TEXT or len(cases) > MAX_CASES:
        return None
    return {"shapes": [[list(array.shape) for array in case] for case in cases], "data": text}


def unpack(packed: Any) -> tuple[CaseProof, ...] | None:
    """The proofs of such an object; None where it is none. Nothing in them is believed."""
    first = 0

    def take(_: str, kind: Array) -> Any:
        nonlocal first
        (dtype, dimensions), shape = kind, next(shapes)
        sizes = [size for size in shape if type(size) is int and 0 <= size <= LARGEST_BYTES]
        count = int(np.prod(sizes, dtype=object))
        if len(sizes) != len(shape) or len(shape) != dimensions or first + 8 * count > len(raw):
            raise ValueError(shape)
        array = np.frombuffer(raw, dtype, count, first).reshape(sizes)
        first += 8 * count
        return array if dimensions else float(array)

    try:
        shapes = iter([shape for case in packed["shapes"] for shape in case])
        raw = zlib.decompressobj().decompress(base64.b64decode(packed["data"], validate=True), LARGEST_BYTES)
        proofs = tuple(made_of(CASE_PROOF, "", take, ()) for _ in packed["shapes"])
    except (KeyError, TypeError, ValueError, StopIteration, binascii.Error, zlib.error):
        return None
    return proofs if first == len(raw) and next(shapes, None) is None else None
