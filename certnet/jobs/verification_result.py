"""What is known about a property once it was looked at."""

from dataclasses import dataclass
from typing import Any

from certificates import Certificate, Report, Verdict
from certificates.certificate import REAL
from certnet.runtime.display import Result
from certnet.search.counterexample import Counterexample


@dataclass(frozen=True, eq=False, repr=False)
class VerificationResult(Result):
    """What is known about a property.

    Attributes:
        verdict: PROVED (no unsafe input), REFUTED (an unsafe input), or UNKNOWN.
        reason: one sentence.
        lower_bound: the least bound on ``max_r (H f(x) + h)_r`` over all cases; proved where PROVED, else in floating
            point, and −inf where none was computed. In float32 it is the least over all evaluations, E less.
        attacked: the least such value at an input that was met, in floating point; in float32 less E as well.
        nodes: linear and semidefinite bounds computed.
        seconds: wall time.
        certificate, report: the proof and what the checker found, where PROVED.
        counterexample: the unsafe input, where REFUTED.
        timed_out: whether the time limit ended the search.
        semantics, rounding: "real" or "float32", and the largest E, by how much float32 may change an output row.
    """

    COMMAND = "verify"
    FIELDS = ("verdict", "reason", "lower_bound", "attacked", "semantics", "rounding", "seconds")

    verdict: Verdict
    reason: str
    lower_bound: float
    attacked: float
    nodes: tuple[int, int]
    seconds: float
    certificate: Certificate | None = None
    report: Report | None = None
    counterexample: Counterexample | None = None
    timed_out: bool = False
    semantics: str = REAL
    rounding: float = 0.0

    @property
    def status(self) -> str:
        """The word of VNN-COMP: unsat, sat, timeout or unknown."""
        if self.verdict is Verdict.UNKNOWN:
            return "timeout" if self.timed_out else "unknown"
        return "unsat" if self.verdict is Verdict.PROVED else "sat"

    def to_dict(self) -> dict[str, Any]:
        report = self.report
        return {
            **super().to_dict(),
            "result": self.status,
            "counterexample": self.counterexample and self.counterexample.to_dict(),
            "bounds": dict(zip(("linear", "semidefinite"), self.nodes, strict=True)),
            "leaves": report and {"linear": report.linear_leaves, "semidefinite": report.semidefinite_leaves},
            "arithmetic": report and report.arithmetic,
        }
