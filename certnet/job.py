"""The main job: train through the lifted SDP, and prove how good the network is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from certificates.certificate import OptimalityCertificate
from certificates.report import CheckReport
from certnet.solvers.interface import SolverResult
from formulations import TrainingProgram
from formulations._validation import FloatArray


@dataclass(frozen=True)
class Event:
    """A sign of life from a running job; every figure may be missing.

    ``objective`` and ``lower_bound`` are the best so far in original units; ``lower_bound`` is a repaired bound.
    """

    stage: str
    seconds: float
    iteration: int | None = None
    objective: float | None = None
    lower_bound: float | None = None
    rank: int | None = None
    residual: float | None = None


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A trained network with its certificate, already re-proved by the independent checker.

    Attributes:
        program: the training problem that was solved.
        U, V: hidden (d×m) and output (c×m) weights; with a bias its row is the last one of U.
        certificate: proves ``report.lower_bound``.
        report: what the checker said of the certificate.
        relaxation: the solver's result, None if the relaxation was not reached.
        relaxed_objective: value of the relaxation's last primal iterate in original units; not a bound.
        rank: numerical rank of the relaxation's lifted moment matrix, with ``spectrum`` its leading eigenvalues
            relative to the largest.
        stages: seconds for each stage.
        interrupted: True when Ctrl-C or the time limit cut a stage short.
    """

    program: TrainingProgram
    U: FloatArray
    V: FloatArray
    certificate: OptimalityCertificate
    report: CheckReport
    relaxation: SolverResult | None = None
    relaxed_objective: float | None = None
    rank: int | None = None
    spectrum: tuple[float, ...] = ()
    stages: Mapping[str, float] = field(default_factory=dict)
    interrupted: bool = False


def train(
    program: TrainingProgram,
    *,
    solver: str = "auto",
    time_limit: float | None = None,
    tolerance: float = 1e-6,
    random_state: int = 0,
    progress: Callable[[Event], None] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Train a two-layer ReLU network through the lifted SDP and certify its distance from global optimality."""
    raise NotImplementedError
