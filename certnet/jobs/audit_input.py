"""One input of an audit: its class, its radii, what an earlier run claims of it, and the journal that says so."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from certificates import Certificate, Robustness, Verdict, fingerprint
from certificates.certificate import REAL, CaseProof
from certificates.failure import Deadline
from certificates.findings import strict
from certnet.jobs.journal import Journal, digest_of, is_proved, pack, recalled
from certnet.jobs.radius import Bracket
from certnet.jobs.verify import misclassified
from certnet.runtime.numerics import computing
from certnet.search.counterexample import decided_classes
from formulations._validation import FloatArray, IntArray
from formulations.network import ReluNetwork

CERTIFIED, ATTACKED, UNDECIDED = "certified", "attacked", "undecided"
FORMAT = "certnet-audit-journal 3"
LARGEST_SHARE, TOLERANCE = 4.0, 1e-3
"""Certified radii are searched up to so many times the largest radius of the audit, and up to this relative error."""


@dataclass(frozen=True)
class InputAudit:
    """What is known of one input.

    Attributes:
        row: its number in the data.
        label, predicted: its class, and the network's, as numbers of outputs; decided in exact arithmetic.
        margin: the label's output less the largest other one, in floating point; infinite with one class.
        status: "certified", "attacked" or "undecided" for each radius, ascending; a misclassified input is attacked.
        certified_radius: a proved radius; 0 if there is none. All radii of the audit up to it are certified.
        attacked_radius: a radius within which the class is lost, up to rounding; infinite if none was found.
        reached: whether it was verified to the end before the audit's own time limit.
        seconds: time it took, in the run that found it.
        counterexample: (d,) an input of another class within ``attacked_radius``, where one is known in float64.
        resumed: whether an earlier run found it, and this one has only confirmed it.
    """

    row: int
    label: int
    predicted: int
    margin: float
    status: tuple[str, ...]
    certified_radius: float
    attacked_radius: float
    reached: bool
    seconds: float
    counterexample: tuple[float, ...] | None = None
    resumed: bool = False

    @property
    def correct(self) -> bool:
        """Whether the undisturbed input is classified correctly."""
        return self.predicted == self.label

    def to_dict(self, classes: Sequence[str] | None = None) -> dict[str, Any]:
        """What JSON says of it, with the names of classes where they have any."""
        left_out = ("status", "counterexample", "resumed")
        entry: dict[str, Any] = strict({name: value for name, value in vars(self).items() if name not in left_out})
        return entry | {name: class_name(entry[name], classes) for name in ("label", "predicted")}


def class_name(label: int, classes: Sequence[str] | None) -> str:
    """The name of an output, or its number."""
    return str(label) if classes is None else classes[label]


def predictions(network: ReluNetwork, X: FloatArray, labels: IntArray) -> tuple[IntArray, FloatArray]:
    """(the classes of inputs X (n×d), exactly; the lead of the labels' outputs (n,), in floating point).

    Of equal largest outputs the first is the class, though such an input keeps no class within any radius.
    """
    with np.errstate(all="ignore"):
        outputs = network(X)
    rows = np.arange(len(X))
    own = outputs[rows, labels]
    outputs[rows, labels] = -np.inf
    return decided_classes(network, X, labels)[0], own - outputs.max(axis=1, initial=-np.inf)


@dataclass(eq=False)
class InputWork:
    """One input of an audit, with what an earlier run claims of it.

    Regions grow with the radius, also as they are rounded. So a proof holds for all smaller radii, and a
    counterexample for all larger ones.
    """

    row: int
    bracket: Bracket
    radii: tuple[float, ...]
    search: bool
    input_limit: float | None
    claim: InputAudit | None = None
    proof: Sequence[CaseProof] | None = None

    def entry(
        self, predicted: int, lead: float, *, reached: bool = False, seconds: float = 0.0, **more: Any
    ) -> InputAudit:
        """The record, as far as the bracket says."""
        label, low = self.bracket.label, self.bracket.low
        high = 0.0 if predicted != label and self.bracket.semantics == REAL else self.lost()
        status = (CERTIFIED if radius <= low else ATTACKED if radius >= high else UNDECIDED for radius in self.radii)
        attacked = min(high, self.bracket.high) if self.search else high
        known = (self.row, label, predicted, float(lead), tuple(status), low, attacked)
        return InputAudit(*known, reached=reached, seconds=seconds, **more)

    def lost(self) -> float:
        """The least radius of the audit that was refuted, or whose region holds the witness, exactly."""
        high, x = self.bracket.high, self.bracket.witness
        for radius in self.radii:
            if radius >= high or (x is not None and self.bracket.region(radius).contains(x)):
                return radius
        return math.inf

    def limit(self, whole: Deadline) -> Deadline:
        """When a part of the work that begins now ends."""
        return Deadline(min(Deadline.after(self.input_limit).moment, whole.moment))

    def decide(self, whole: Deadline) -> bool:
        """Ascend until a radius is refuted, as the rest is then known, and narrow the certified radius.

        Returns whether it was not verified to the end when the whole time was over.
        """
        bracket, end, cut = self.bracket, self.limit(whole), False
        for radius in self.radii:
            if bracket.high <= radius:
                break
            verdict = bracket.decide(radius, end.limit)
            cut = cut or (verdict is Verdict.UNKNOWN and whole.passed)
        if self.search and bracket.high > 0:
            is_open = bracket.search(LARGEST_SHARE * self.radii[-1], TOLERANCE, self.limit(whole))
            cut = cut or (is_open and whole.passed)
        return cut

    def is_confirmed(self, whole: Deadline) -> bool:
        """Whether the bracket has what an earlier run claims, confirmed now; False if there is more to find."""
        claim, bracket = self.claim, self.bracket
        if claim is None:
            return False
        radius = claim.certified_radius
        if claim.counterexample is not None and bracket.high > 0:
            x = np.array(claim.counterexample)
            x = x if bracket.semantics == REAL else x.astype(np.float32).astype(np.float64)
            if misclassified(bracket.network, x, bracket.label, bracket.semantics):
                bracket.lose(x, bracket.high)
            if not (bracket.high if self.search else self.lost()) < math.inf:
                return False
        if bracket.high == 0 or not radius > 0:
            return True
        # Wherever the proof was found, it has to do for this network and this property.
        statement = Robustness(bracket.network, bracket.cases(radius), bracket.semantics)
        if not (radius < bracket.high and is_proved(statement, self.proof, self.limit(whole).limit)):
            return False
        bracket.low = radius
        return True


def audited(one: InputWork, until: float) -> tuple[InputAudit, dict[float, Certificate]]:
    """One input at all radii, until ``time.time()`` is ``until``."""
    with computing(), np.errstate(all="ignore"):
        start, bracket = time.perf_counter(), one.bracket
        whole = Deadline.after(until - time.time())
        (predicted,), (lead,) = predictions(bracket.network, bracket.x[None], np.array([bracket.label]))
        if bracket.semantics == REAL:
            bracket.high = bracket.high if predicted == bracket.label else 0.0
        elif misclassified(bracket.network, bracket.x, bracket.label, bracket.semantics):
            bracket.lose(bracket.x.astype(np.float32).astype(np.float64))
        fresh, held, cut = replace(bracket), one.is_confirmed(whole), False
        if not held:
            one.bracket = bracket = fresh
            cut = one.decide(whole)
        seconds = one.claim.seconds if held and one.claim else time.perf_counter() - start
        witness = None if bracket.witness is None else tuple(bracket.witness.tolist())
        more: dict[str, Any] = {"counterexample": witness, "resumed": held}
        best = (*one.radii, bracket.low)
        certificates = {radius: found for radius, found in bracket.certificates.items() if radius in best}
        return one.entry(int(predicted), lead, reached=not cut, seconds=seconds, **more), certificates


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

        found = {one.row: one for one in self.read(fits)}
        self._proofs = {row: one.proof for row, one in found.items()}
        empty = InputAudit(0, 0, 0, 0.0, (), 0.0, math.inf, reached=True, seconds=0.0, resumed=True)
        names = ("row", "certified_radius", "counterexample", "seconds")
        return {row: replace(empty, **{name: getattr(one, name) for name in names}) for row, one in found.items()}

    def recall(self, entry: InputAudit) -> Sequence[CaseProof] | None:
        """The stored proof of the certified radius."""
        return recalled(self._place(entry.row, entry.certified_radius), self._proofs.get(entry.row))

    def add(self, entry: InputAudit, certificates: Mapping[float, Certificate]) -> None:
        """Keep one input."""
        radius = entry.certified_radius
        line = Finished(entry.row, radius, entry.counterexample, entry.seconds, pack(certificates.get(radius)))
        places = {self._place(entry.row, radius): one for radius, one in certificates.items()}
        self.keep(line, {place: one for place, one in places.items() if place is not None})

    def _place(self, row: int, radius: float) -> Path | None:
        return None if self._folder is None else self._folder / f"row-{row}-radius-{radius!r}.cert"
