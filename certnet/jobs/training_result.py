"""What a training job gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from certificates import Certificate, Report
from certnet.search.price import SearchSummary
from certnet.solvers import SolverResult
from formulations import TrainingProgram
from formulations._validation import FloatArray

RANK_TOLERANCE = 1e-5
SPECTRUM_LENGTH = 20


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A trained network with its certificate, already re-proved by the independent checker.

    Attributes:
        program: the training problem that was solved.
        certificate: proves ``report.lower_bound``, and holds the network.
        report: what the checker said of the certificate.
        relaxation: the solver's result, None if the relaxation was not reached.
        relaxed_objective: value of the relaxation's last primal iterate in original units; not a bound.
        rank: numerical rank of the relaxation's lifted moment matrix, with ``spectrum`` its leading eigenvalues
            relative to the largest.
        stages: seconds for each stage.
        interrupted: True when Ctrl-C cut a stage short.
        choice: why this solver, when certnet chose it; else None.
        notes: sentences that the user should read.
        search: the branch and bound, if a gap was asked for and it was needed.
        resumable: the job was cut short, and a checkpoint of it, if one was asked for, is worth keeping.
    """

    program: TrainingProgram
    certificate: Certificate
    report: Report
    relaxation: SolverResult | None = None
    relaxed_objective: float | None = None
    rank: int | None = None
    spectrum: tuple[float, ...] = ()
    stages: Mapping[str, float] = field(default_factory=dict)
    interrupted: bool = False
    choice: str | None = None
    notes: tuple[str, ...] = ()
    search: SearchSummary | None = None
    resumable: bool = False

    @property
    def U(self) -> FloatArray:
        """Hidden weights (d×m); with a bias its row is the last one. There is no network but the certificate's."""
        return self.certificate.proofs[0].U  # type: ignore[no-any-return]

    @property
    def V(self) -> FloatArray:
        """Output weights (c×m)."""
        return self.certificate.proofs[0].V  # type: ignore[no-any-return]


def numerical_rank(result: SolverResult | None) -> tuple[int | None, tuple[float, ...]]:
    """Numerical rank and leading eigenvalues of S; G = JSJᵀ has the same rank because J is injective."""
    if result is None or result.primal is None or not np.isfinite(result.primal.S).all():
        return None, ()
    values = np.linalg.eigvalsh(result.primal.S)[::-1]
    if not (values[0] > 0):
        return 0, ()
    relative = values / values[0]
    return int(np.sum(relative > RANK_TOLERANCE)), tuple(float(value) for value in relative[:SPECTRUM_LENGTH])
