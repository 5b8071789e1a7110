"""Solvers for the doubly nonnegative relaxation, behind one function. Nothing they return is a bound until repaired."""

from typing import TYPE_CHECKING

from formulations.lazy import lazily

if TYPE_CHECKING:
    from certnet.solvers.interface import Progress, SolverOptions, SolverResult, SolveStatus
    from certnet.solvers.registry import available_solvers, solve

__all__ = ["Progress", "SolveStatus", "SolverOptions", "SolverResult", "available_solvers", "solve"]

__getattr__ = lazily(
    __name__,
    {
        "certnet.solvers.interface": "Progress SolverOptions SolverResult SolveStatus",
        "certnet.solvers.registry": "available_solvers solve",
    },
)
