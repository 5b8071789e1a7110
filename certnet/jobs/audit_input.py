"""One input of an audit: its class, its radii, and what an earlier run claims of it."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from certificates import Certificate, Robustness, Verdict
from certificates.certificate import REAL, CaseProof
from certificates.failure import Deadline
from certnet.jobs.audit_result import ATTACKED, CERTIFIED, UNDECIDED, InputAudit
from certnet.jobs.journal import is_proved
from certnet.jobs.radius import Bracket
from certnet.jobs.verify import misclassified
from certnet.runtime.numerics import computing
from certnet.search.counterexample import decided_classes
from formulations._validation import FloatArray, IntArray
from formulations.network import ReluNetwork

LARGEST_SHARE, TOLERANCE = 4.0, 1e-3
"""Certified radii are searched up to so many times the largest radius of the audit, and up to this relative error."""


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
