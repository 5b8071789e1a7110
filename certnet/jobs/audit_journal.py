"""The journal of an audit: a line for each finished input, so that it is not verified again.

A line holds what cannot be computed quickly: the certified radius with its proof, and the counterexample. Both are
confirmed by whoever reads them. Lines end in a digest of their text. A last line without its end was cut short by
whatever stopped the audit, and is left out; any other line that does not fit is damage. Digests tell damage, not lies.
A proof is the arrays of its cases in a few kB, without the network and the property: who reads it attaches it to those
in question, and has the checker decide.
"""

import base64
import hashlib
import json
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from certificates import Certificate, Robustness, fingerprint, read_certificate, write_certificate
from certificates.certificate import CaseProof
from certificates.container import CASE_PROOF, MAX_CASES, Array, made_of, members
from certificates.files import write_atomically
from certnet.jobs.audit_input import LARGEST_SHARE
from certnet.jobs.audit_result import InputAudit
from formulations import InputError
from formulations._validation import FloatArray
from formulations.network import ReluNetwork

FORMAT = "certnet-audit-journal 2"
LARGEST_BYTES = 1 << 30
LARGEST_PROOF, LARGEST_TEXT = 1 << 25, 1 << 20
"""Bytes of a proof's arrays together, and of their text."""


def audit_fingerprint(network: ReluNetwork, X: FloatArray, Y: FloatArray, options: Mapping[str, Any]) -> str:
    """SHA-256 of the network, the inputs X (n×d) with targets Y (n×c), and options that change results."""
    digest = hashlib.sha256(fingerprint(X, Y).encode())
    digest.update(fingerprint(network.hidden, network.hidden_bias[:, None]).encode())
    digest.update(fingerprint(network.output, network.output_bias[:, None]).encode())
    digest.update(json.dumps(options, sort_keys=True).encode())
    return digest.hexdigest()


class Journal:
    """Keeps finished inputs: their certificates in a folder if there is one, and a line in a file for each.

    Attributes:
        path: the file.
        notes: what could not be written, in a sentence. The next input is tried again.
    """

    def __init__(self, path: Path, identity: str, certificates: Path | None) -> None:
        self.path, self._certificates = path, certificates
        self._head = {"format": FORMAT, "audit": identity}
        self._proofs: dict[int, Any] = {}
        self.notes: list[str] = []

    def read(self, rows: int, inputs: int, largest: float) -> dict[int, InputAudit]:
        """What it says of finished inputs, by row; nothing if there is no file. What was cut short is removed from it.

        Only certified radius, counterexample and seconds are of use in the records; the other fields are empty.

        Args:
            rows: of the data.
            inputs: of the network.
            largest: radius of the audit.

        Raises:
            InputError: the journal is of another audit, or damaged.
        """
        if not self.path.exists():
            return {}
        damaged = InputError(
            f"{self.path} is damaged or no journal of an audit; choose another --out, or add --fresh to replace it."
        )
        try:
            if not self.path.is_file() or self.path.stat().st_size > LARGEST_BYTES:
                raise damaged
            whole, end, rest = self.path.read_text(encoding="utf-8").rpartition("\n")
            if rest:
                self._replace((whole + end).encode())
            if not end:
                return {}
            first, *lines = whole.split("\n")
            if _value(first) != self._head:
                raise InputError(
                    f"{self.path} is the journal of an audit of another network, other data or other options, or of "
                    "another version of certnet; choose another --out, or add --fresh to replace it."
                )
            entries = [self._entry(_value(line), rows, inputs, LARGEST_SHARE * largest) for line in lines]
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}.") from None
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise damaged from None
        return {entry.row: entry for entry in entries}

    def begin(self) -> None:
        """Start an empty journal in place of whatever is there."""
        self._replace(_line(self._head))

    def _replace(self, content: bytes) -> None:
        def write(file: BinaryIO) -> None:
            file.write(content)

        write_atomically(self.path, write)

    def recall(self, entry: InputAudit) -> Sequence[CaseProof] | None:
        """The stored proof of the certified radius: the certificate if there are to be such, else the line's."""
        if self._certificates is None:
            return unpack(self._proofs.get(entry.row))
        try:
            return read_certificate(self._certificate(entry.row, entry.certified_radius), Robustness).proofs
        except (InputError, OSError):
            return None

    def add(self, entry: InputAudit, certificates: Mapping[float, Certificate]) -> None:
        """Keep one input: certificates first, so that no line speaks of one that is missing.

        The file comes with the first one, so that an audit that cannot start leaves none. What cannot be written
        leaves the file as it was.
        """
        try:
            for radius, certificate in certificates.items() if self._certificates is not None else ():
                write_certificate(self._certificate(entry.row, radius), certificate)
            if not self.path.exists() or not self.path.stat().st_size:
                self.begin()
            best = certificates.get(entry.certified_radius)
            names = ("row", "certified_radius", "counterexample", "seconds")
            proof = {"proof": None if best is None else pack(best.proofs)}
            self._append(_line({name: getattr(entry, name) for name in names} | proof))
        except OSError as error:
            self.notes[:] = [
                f"Journal or certificates could not be written ({error.strerror or error}); make room and run the same "
                "command again."
            ]

    def _append(self, line: bytes) -> None:
        with self.path.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())
            except BaseException:
                # A part of a line would spoil the lines that follow.
                file.truncate(size)
                raise

    def _certificate(self, row: int, radius: float) -> Path:
        return (self._certificates or Path()) / f"row-{row}-radius-{radius!r}.cert"

    def _entry(self, value: dict[str, Any], rows: int, inputs: int, largest: float) -> InputAudit:
        """The record of a line; raises ValueError, KeyError, TypeError or OverflowError if it is none."""
        row, found, proof = (value.pop(name) for name in ("row", "counterexample", "proof"))
        radius, seconds = (_number(value.pop(name)) for name in ("certified_radius", "seconds"))
        if value or type(row) is not int or not (0 <= row < rows and 0 <= radius <= largest and seconds >= 0):
            raise ValueError(value)
        if found is not None:
            found = tuple(map(_number, found))
            if len(found) != inputs:
                raise ValueError(found)
        self._proofs[row] = proof
        return InputAudit(row, 0, 0, 0.0, (), radius, math.inf, True, seconds, found, resumed=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _line(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(value, allow_nan=False)
    return f"{text}\t{_digest(text)}\n".encode()


def _value(line: str) -> dict[str, Any]:
    text, _, digest = line.rpartition("\t")
    value = json.loads(text) if digest == _digest(text) else None
    if not isinstance(value, dict):
        raise TypeError(line)
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)


def pack(proofs: Sequence[CaseProof]) -> dict[str, Any] | None:
    """A JSON object of shapes and bytes, or None where it would be too large."""
    cases = [[np.asarray(value, dtype) for _, (dtype, _), value in members(CASE_PROOF, proof, "")] for proof in proofs]
    raw = b"".join(array.tobytes() for case in cases for array in case)
    text = base64.b64encode(zlib.compress(raw)).decode()
    if len(raw) > LARGEST_PROOF or len(text) > LARGEST_TEXT or len(cases) > MAX_CASES:
        return None
    return {"shapes": [[list(array.shape) for array in case] for case in cases], "data": text}


def unpack(packed: Any) -> tuple[CaseProof, ...] | None:
    """The proofs of such an object; None where it is none. Nothing in them is believed."""
    first = 0

    def take(_: str, kind: Array) -> Any:
        nonlocal first
        (dtype, dimensions), shape = kind, next(shapes)
        sizes = [size for size in shape if type(size) is int and 0 <= size <= LARGEST_PROOF]
        count = int(np.prod(sizes, dtype=object))
        if len(sizes) != len(shape) or len(shape) != dimensions or first + 8 * count > len(raw):
            raise ValueError(shape)
        array = np.frombuffer(raw, dtype, count, first).reshape(sizes)
        first += 8 * count
        return array if dimensions else float(array)

    try:
        shapes = iter([shape for case in packed["shapes"] for shape in case])
        raw = zlib.decompressobj().decompress(base64.b64decode(packed["data"], validate=True), LARGEST_PROOF)
        proofs = tuple(made_of(CASE_PROOF, "", take, ()) for _ in packed["shapes"])
    except (KeyError, TypeError, ValueError, StopIteration, zlib.error):
        return None
    return proofs if first == len(raw) and next(shapes, None) is None else None
