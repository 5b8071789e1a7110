"""Proofs of an audit in a few kB each: the arrays of their cases, without the network and the property.

Who reads one attaches it to the network and the property in question, and has the checker decide.
"""

import base64
import binascii
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from certificates.robustness import CaseProof
from certificates.robustness_file import CASE_PROOF, MAX_CASES, case_proof, case_proof_arrays

LARGEST_BYTES = 1 << 25
"""Of the arrays together."""
LARGEST_TEXT = 1 << 20


def pack(proofs: Sequence[CaseProof]) -> dict[str, Any] | None:
    """A JSON object of shapes and bytes, or None where it would be too large."""
    cases = [case_proof_arrays(proof) for proof in proofs]
    parts = ((case[name], dtype) for case in cases for name, (dtype, _) in CASE_PROOF.items())
    raw = b"".join(np.ascontiguousarray(array, dtype).tobytes() for array, dtype in parts)
    text = base64.b64encode(zlib.compress(raw)).decode()
    if len(raw) > LARGEST_BYTES or len(text) > LARGEST_TEXT or len(cases) > MAX_CASES:
        return None
    return {"shapes": [[list(case[name].shape) for name in CASE_PROOF] for case in cases], "data": text}


def unpack(packed: Any) -> tuple[CaseProof, ...] | None:
    """The proofs of such an object; None where it is none. Nothing in them is believed."""
    try:
        shapes = [list(zip(CASE_PROOF.items(), case, strict=True)) for case in packed["shapes"]]
        reader = zlib.decompressobj()
        raw = reader.decompress(base64.b64decode(packed["data"], validate=True), LARGEST_BYTES)
        proofs, first = [], 0
        for case in shapes:
            arrays = {}
            for (name, (dtype, dimensions)), shape in case:
                sizes = [size for size in shape if type(size) is int and 0 <= size <= LARGEST_BYTES]
                count = int(np.prod(sizes, dtype=object))
                if len(sizes) != len(shape) or len(shape) != dimensions or first + 8 * count > len(raw):
                    return None
                arrays[name] = np.frombuffer(raw, dtype, count, first).reshape(sizes)
                first += 8 * count
            proofs.append(case_proof(arrays, ""))
    except (KeyError, TypeError, ValueError, binascii.Error, zlib.error):
        return None
    return tuple(proofs) if first == len(raw) else None
