"""The relaxation as CVXPY writes it down for a conic solver, and the way back to the iterates of the program."""

import importlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

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

    For "SCS" and "CLARABEL" it is: minimise ½xᵀPx + cᵀx subject to Ax + s = b, with s in {0}^z × R₊^l × (second-order
    cones) × (one triangle of a PSD matrix, off its diagonal times √2) × (exponential cones). The first rows are those
    of the loss; the squared loss needs neither second-order nor exponential cones.

    Attributes:
        problem, handles: what ``model`` made of the program.
        data, chain: what the problem became for this solver, and how.
        iterations: to be counted by who runs the solver.
        solution: CVXPY's, of the iterates kept last, or None.

    Raises:
        InputError: a program too large to be written down.
        RuntimeError: CVXPY cannot find the solver.
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
        self.iterations = 0
        self.solution: Any = None

    def matrices(self) -> tuple[Any, FloatArray, Any, FloatArray]:
        """(upper triangle of P, c, A, b)."""
        data, size = self.data, len(self.data["c"])
        P = data.get("P", sparse.csc_array((size, size)))  # absent where the objective is linear
        return sparse.csc_matrix(sparse.triu(P)), data["c"], sparse.csc_matrix(data["A"]), data["b"]

    def cones(self) -> tuple[int, int, int]:
        """(z, l, order of the PSD matrix)."""
        dims = self.data["dims"]
        return dims.zero, dims.nonneg, dims.psd[0]

    def other_cones(self) -> tuple[list[int], int]:
        """(sizes of second-order cones, number of exponential cones)."""
        dims = self.data["dims"]
        return [int(size) for size in dims.soc], int(dims.exp)

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

    def start(self, primal: Primal | None, dual: Dual | None) -> dict[str, FloatArray]:
        """x, y, s of SCS for iterates of a similar program; what is missing becomes zero.

        On the columns of S the triangle's rows of A have one entry each. They tell x for S, and y by stationarity.
        """
        P, c, A, b = self.matrices()
        zero, nonnegative, order = self.cones()
        first = zero + nonnegative + sum(self.other_cones()[0])
        rows = slice(first, first + order * (order + 1) // 2)
        triangle, loss = A[rows], A[: self.handles.residual.size]
        size = np.asarray(triangle.multiply(triangle).sum(axis=1)).ravel()
        x, y = np.zeros(len(c)), np.zeros(len(b))
        if primal is not None:
            column, row = np.triu_indices(order)
            x = triangle.T @ (primal.S[row, column] * np.where(row == column, -1.0, -np.sqrt(2.0)) / size)
        if P.nnz == loss.shape[0]:
            x += P @ (loss.T @ (b[: loss.shape[0]] - loss @ x))  # then P is the identity on the residual, and 0 on S
        if dual is not None and dual.N.size:
            equal, signs = self.handles.multipliers(dual)
            y[: len(equal)], y[zero : zero + len(signs)] = equal, signs
            y[rows] = -(triangle @ (c + A.T @ y)) / size
        return {"x": x, "y": y, "s": b - A @ x}
