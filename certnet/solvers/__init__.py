"""Solvers for the doubly nonnegative relaxation, behind one function. Nothing they return is a bound until repaired."""

from certnet.solvers.interface import Progress, SolverOptions, SolverResult, SolveStatus
from certnet.solvers.registry import available_solvers, solve

__all__ = ["Progress", "SolveStatus", "SolverOptions", "SolverResult", "available_solvers", "solve"]
