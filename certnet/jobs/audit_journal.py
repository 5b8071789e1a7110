"""The journal of an audit: for each finished input its certified radius, the proof, and a counterexample."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from certificates import Certificate, Robustness, fingerprint, read_certificate, write_certificate
from certificates.certificate import CaseProof
from certnet.jobs.audit_input import LARGEST_SHARE
from certnet.jobs.audit_result import InputAudit
from certnet.jobs.journal import JournalFile, pack, unpack
from formulations import InputError
from formulations._validation import FloatArray
from formulations.network import ReluNetwork

FORMAT = "certnet-audit-journal 3"


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
        about = "another network, other data or other options"
        self._file = JournalFile(path, {"format": FORMAT, "audit": identity}, "an audit", about)
        self._proofs: dict[int, Any] = {}
        self.notes: list[str] = []
        self.begin = self._file.begin

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
        entries = self._file.read(lambda value: self._entry(value, rows, inputs, LARGEST_SHARE * largest))
        return {entry.row: entry for entry in entries}

    def recall(self, entry: InputAudit) -> Sequence[CaseProof] | None:
        """The stored proof of the certified radius: the certificate if there are to be such, else the line's."""
        if self._certificates is None:
            return unpack(self._proofs.get(entry.row))
        try:
            return read_certificate(self._certificate(entry.row, entry.certified_radius), Robustness).proofs
        except (InputError, OSError):
            return None

    def add(self, entry: InputAudit, certificates: Mapping[float, Certificate]) -> None:
        """Keep one input: certificates first, so that no line speaks of one that is missing."""
        try:
            for radius, certificate in certificates.items() if self._certificates is not None else ():
                write_certificate(self._certificate(entry.row, radius), certificate)
            best = certificates.get(entry.certified_radius)
            names = ("row", "certified_radius", "counterexample", "seconds")
            proof = {"proof": None if best is None else pack(best.proofs)}
            self._file.append({name: getattr(entry, name) for name in names} | proof)
        except OSError as error:
            self.notes[:] = [
                f"Journal or certificates could not be written ({error.strerror or error}); make room and run the same "
                "command again."
            ]

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


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)
