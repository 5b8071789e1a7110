"""The journal of an audit: a line for each finished input, so that it is not verified again.

A line holds what cannot be computed quickly: the certified radius with its proof, and the counterexample. Both are
confirmed by whoever reads them. Lines end in a digest of their text. A last line without its end was cut short by
whatever stopped the audit, and is left out; any other line that does not fit is damage. Digests tell damage, not lies.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from certificates import Certificate, fingerprint
from certificates.certificate import CaseProof
from certificates.files import write_atomically
from certnet.jobs.audit import LARGEST_SHARE
from certnet.jobs.audit_proof import pack, unpack
from certnet.jobs.audit_result import InputAudit
from formulations import InputError
from formulations._validation import FloatArray
from formulations.network import ReluNetwork

FORMAT = "certnet-audit-journal 2"
LARGEST_BYTES = 1 << 30


def audit_fingerprint(network: ReluNetwork, X: FloatArray, Y: FloatArray, options: Mapping[str, Any]) -> str:
    """SHA-256 of the network, the inputs X (n×d) with targets Y (n×c), and options that change results."""
    digest = hashlib.sha256(fingerprint(X, Y).encode())
    digest.update(fingerprint(network.hidden, network.hidden_bias[:, None]).encode())
    digest.update(fingerprint(network.output, network.output_bias[:, None]).encode())
    digest.update(json.dumps(options, sort_keys=True).encode())
    return digest.hexdigest()


class Journal:
    """Appends finished inputs to a file, each flushed to the disk."""

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self._identity = path, identity
        self._proofs: dict[int, Any] = {}

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
        try:
            if not self.path.is_file() or self.path.stat().st_size > LARGEST_BYTES:
                raise InputError(self._damaged())
            text = self.path.read_text(encoding="utf-8")
            whole, end, rest = text.rpartition("\n")
            lines = whole.split("\n") if end else []
            if rest:
                kept = whole + end
                write_atomically(self.path, lambda file: _write(file, kept))
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}.") from None
        except UnicodeDecodeError:
            raise InputError(self._damaged()) from None
        if not lines:
            return {}
        try:
            if _value(lines[0]) != self._head():
                raise InputError(
                    f"{self.path} is the journal of an audit of another network, other data or other options, or of "
                    "another version of certnet; choose another --out, or add --fresh to replace it."
                )
            entries = [self._entry(_value(line), rows, inputs, LARGEST_SHARE * largest) for line in lines[1:]]
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise InputError(self._damaged()) from None
        return {entry.row: entry for entry in entries}

    def _head(self) -> dict[str, str]:
        return {"format": FORMAT, "audit": self._identity}

    def begin(self) -> None:
        """Start an empty journal in place of whatever is there."""
        write_atomically(self.path, lambda file: _write(file, _line(self._head())))

    def proof(self, entry: InputAudit) -> Sequence[CaseProof] | None:
        """What it has read as the proof of the certified radius, if that is one."""
        return unpack(self._proofs.get(entry.row))

    def add(self, entry: InputAudit, certificate: Certificate | None) -> None:
        """Append one input with the certificate of its certified radius.

        The file comes with the first one, so that an audit that cannot start leaves none.

        Raises:
            OSError: it cannot be written; the file is as it was.
        """
        if not self.path.exists() or not self.path.stat().st_size:
            self.begin()
        value = {
            "row": entry.row,
            "certified_radius": entry.certified_radius,
            "counterexample": None if entry.counterexample is None else list(entry.counterexample),
            "seconds": entry.seconds,
            "proof": None if certificate is None else pack(certificate.proofs),
        }
        with self.path.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                line = memoryview(_line(value).encode())
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())
            except BaseException:
                # A part of a line would spoil the lines that follow.
                file.truncate(size)
                raise

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

    def _damaged(self) -> str:
        return f"{self.path} is damaged or no journal of an audit; choose another --out, or add --fresh to replace it."


def _write(file: Any, text: str) -> None:
    file.write(text.encode())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _line(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, allow_nan=False)
    return f"{text}\t{_digest(text)}\n"


def _value(line: str) -> dict[str, Any]:
    text, _, digest = line.rpartition("\t")
    if digest != _digest(text):
        raise ValueError(line)
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError(line)
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)
