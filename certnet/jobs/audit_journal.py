"""The journal of an audit: for each finished input its certified radius, the proof, and a counterexample."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from certificates import Certificate, fingerprint
from certificates.certificate import CaseProof
from certnet.jobs.audit_input import LARGEST_SHARE
from certnet.jobs.audit_result import InputAudit
from certnet.jobs.journal import Journal, digest_of, pack, recalled
from formulations._validation import FloatArray
from formulations.network import ReluNetwork

FORMAT = "certnet-audit-journal 3"


def audit_fingerprint(network: ReluNetwork, X: FloatArray, Y: FloatArray, options: Mapping[str, Any]) -> str:
    """SHA-256 of the network, the inputs X (n×d) with targets Y (n×c), and options that change results."""
    return digest_of(fingerprint(X, Y).encode(), network, json.dumps(options, sort_keys=True).encode())


class Finished(msgspec.Struct, forbid_unknown_fields=True):
    """What a line says of an input: its certified radius with the proof, and a counterexample where one is known."""

    row: int
    certified_radius: float
    counterexample: tuple[float, ...] | None
    seconds: float
    proof: Any


class AuditJournal(Journal[Finished]):
    """Keeps finished inputs, and their certificates in a folder if there is one."""

    def __init__(self, path: Path, identity: str, certificates: Path | None) -> None:
        about = "another network, other data or other options"
        super().__init__(path, {"format": FORMAT, "audit": identity}, Finished, "an audit", about)
        self._folder, self._proofs = certificates, dict[int, Any]()

    def known(self, rows: int, inputs: int, largest: float) -> dict[int, InputAudit]:
        """What it says of finished inputs, by row; of so many rows and inputs, and of radii up to the largest.

        Only certified radius, counterexample and seconds are of use in the records; the other fields are empty.
        """

        def fits(one: Finished) -> bool:
            size = inputs if one.counterexample is None else len(one.counterexample)
            radius = 0 <= one.certified_radius <= LARGEST_SHARE * largest
            return 0 <= one.row < rows and radius and one.seconds >= 0 and size == inputs

        found = self.read(fits)
        self._proofs = {one.row: one.proof for one in found}
        empty = InputAudit(0, 0, 0, 0.0, (), 0.0, math.inf, reached=True, seconds=0.0, resumed=True)
        return {
            one.row: replace(empty, **{name: getattr(one, name) for name in one.__struct_fields__ if name != "proof"})
            for one in found
        }

    def recall(self, entry: InputAudit) -> Sequence[CaseProof] | None:
        """The stored proof of the certified radius."""
        return recalled(self._certificate(entry.row, entry.certified_radius), self._proofs.get(entry.row))

    def add(self, entry: InputAudit, certificates: Mapping[float, Certificate]) -> None:
        """Keep one input."""
        best = certificates.get(entry.certified_radius)
        proof = pack(None if best is None else best.proofs)
        places = {self._certificate(entry.row, radius): one for radius, one in certificates.items()}
        kept = {place: one for place, one in places.items() if place is not None}
        self.keep(Finished(entry.row, entry.certified_radius, entry.counterexample, entry.seconds, proof), kept)

    def _certificate(self, row: int, radius: float) -> Path | None:
        return None if self._folder is None else self._folder / f"row-{row}-radius-{radius!r}.cert"
