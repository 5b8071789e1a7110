"""What a check found."""

import math
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """PROVED: a theorem about the float64 data. REFUTED: a counterexample is at hand. UNKNOWN: neither."""

    PROVED = "PROVED"
    REFUTED = "REFUTED"
    UNKNOWN = "UNKNOWN"


SMALLEST = 1e-290
"""Objective below which gaps are relative to this."""


@dataclass(frozen=True)
class Report:
    """The checker's own figures; the certificate's claims are not repeated here.

    What a statement does not have, or what was not reached, keeps its default.

    Attributes:
        verdict: PROVED when all claims are theorems about the numbers in the certificate.
        reason: one sentence; for a failure it names the first violated condition and its size.
        arithmetic: exact, ball or float, whichever really ran. Of robustness that of the semidefinite leaves; linear
            ones are checked in floating point with error bounds and, unless that is all that was asked for, in rational
            numbers where it does not prove them.
        seconds: time that checking took.
        lower_bound: of training, the bound that was proved, rounded down.
        objective: of training, the network's objective, rounded up.
        margin: of robustness, the least δ of all cases, a proved lower bound of ``max_r (H f(x) + h)_r`` for weights
            that add up to 1.
        rounding: of robustness in float32, the largest E, by how much that may change an output row; the margin is what
            is left of it.
        linear_leaves, semidefinite_leaves: of robustness, how many leaves were proved in which way.
        constant: the proved Lipschitz constant.
    """

    verdict: Verdict
    reason: str
    arithmetic: str
    seconds: float
    lower_bound: float = -math.inf
    objective: float = math.inf
    margin: float = -math.inf
    rounding: float = 0.0
    linear_leaves: int = 0
    semidefinite_leaves: int = 0
    constant: float = math.inf

    @property
    def gap(self) -> float:
        """(objective − lower_bound)/objective from these two, +inf when undefined."""
        return relative_gap(self.objective, self.lower_bound)


def relative_gap(objective: float, lower_bound: float) -> float:
    """(objective − lower_bound)/max(objective, 1e-290), never below the truth by more than rounding.

    The checker rounds an objective of 0 up to the smallest numbers, and a gap relative to those would say nothing.
    """
    if not (objective >= 0 and math.isfinite(objective) and math.isfinite(lower_bound)):
        return math.inf
    return (objective - lower_bound) / max(objective, SMALLEST)
