"""Programs as CVXPY writes them down for conic solvers, and the way back: the relaxation, a splitting of a matrix."""

import importlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from formulations._validation import FloatArray
from formulations.modeling.cvxpy_model import CvxpyHandles, cvxpy_model
from formulations.program import Dual, Primal, Program

Model = Callable[[Program], tuple[Any, CvxpyHandles]]

counting = threading.Lock()
"""CVXPY numbers all expressions with one counter, which it does not guard."""


def load() -> None:
    """Import CVXPY in a thread of its own.

    Who solves may be told to stop by an exception that is raised in its thread. An import broken off by it would leave
    half of CVXPY and SciPy behind, for the rest of the process.
    """
    loader = threading.Thread(target=importlib.import_module, args=("cvxpy",), daemon=True, name="certnet-import")
    loader.start()
    loader.join()


class Compiled:
    """A program in the form of one solver, and the iterates kept last. Never shared between threads.

    Attributes:
        problem, handles: what ``model`` made of the program.
        data, chain: what the problem became for this solver, and how.
        solution: CVXPY's, of the iterates kept last, or None.

    RuntimeError where CVXPY cannot find the solver.
    """

    def __init__(self, program: Program, solver: str, model: Model = cvxpy_model) -> None:
        load()
        from cvxpy.error import SolverError

        try:
            with counting:
                self.problem, self.handles = model(program)
                # CVXPY's default backend takes several times as long where generators have many entries.
                self.data, self.chain, self._inverse = self.problem.get_problem_data(
                    solver, canon_backend="SCIPY", solver_opts={}
                )
        except SolverError as error:
            raise RuntimeError(str(error)) from error
        self.solution: Any = None

    def keep(self, answer: Any) -> Any:
        """Keep the iterates of an answer in the solver's own form, if it has any; return it as CVXPY's solution."""
        solution = self.chain.invert(answer, self._inverse)
        if solution.primal_vars and solution.dual_vars:
            self.solution = solution
        return solution

    def recover(self) -> tuple[Primal | None, Dual | None]:
        """The iterates kept last; None for what is not finite."""
        if self.solution is None:
            return None, None
        self.problem.unpack(self.solution)
        primal, dual = self.handles.recover()
        finite = np.isfinite(dual.W).all() and np.isfinite(dual.N).all()
        return primal if np.isfinite(primal.S).all() else None, dual if finite else None


def nonnegative_part(M: FloatArray, *, time_limit: float) -> FloatArray | None:
    """The N ≥ 0 with zero diagonal for which the smallest eigenvalue of M − N is (nearly) largest; not to be trusted.

    The diagonal of M should be of order one. None when the solver, Clarabel, gave nothing finite.
    """
    load()
    import cvxpy as cp

    with counting:
        S, t = cp.Variable(M.shape, PSD=True), cp.Variable()
        problem = cp.Problem(cp.Maximize(t), [cp.diag(S) + t == np.diag(M), S + t * np.eye(len(M)) <= M])
        data, chain, inverse = problem.get_problem_data(cp.CLARABEL, solver_opts={})
    answer = chain.solver.solve_via_data(data, False, False, {"time_limit": time_limit, "max_threads": 1})
    solution = chain.invert(answer, inverse)
    if S.id not in solution.primal_vars or not np.isfinite(solution.primal_vars[S.id]).all():
        return None
    N = np.maximum(M - np.asarray(solution.primal_vars[S.id]), 0.0)
    np.fill_diagonal(N, 0.0)
    return np.asarray(0.5 * (N + N.T))
