"""SCS, a first-order splitting solver in C, on the reduced relaxation with its output block.

What was found about Ctrl-C: SCS 3.3 takes SIGINT over while it runs, looks at it once an iteration, prints one line and
returns NaN for all iterates with status −5; no KeyboardInterrupt is raised. At a limit it may also declare the program
infeasible and return NaN for x. It is therefore run in stretches of some hundred iterations, each warm-started: the
iterate of the last complete stretch is what an interrupted solve hands over, and the callback is called in between.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from certnet._numerics import FAILURES, failure
from certnet.solvers import _external
from certnet.solvers._external import Outcome
from certnet.solvers._session import Session
from certnet.solvers.interface import SolverOptions, SolverResult, SolveStatus
from formulations import LiftedProgram, RawDual
from formulations._validation import FloatArray, IntArray
from formulations.conic import ConicData, starting_point, with_outputs

STRETCH = 500
"""SCS adapts its step only every 100 iterations and within one stretch, so shorter ones converge worse."""

MAX_ITERATIONS = 100_000
SMALLEST_TIME = 1e-3
FINISHED = {
    1: SolveStatus.CONVERGED,
    -3: SolveStatus.FAILED,
    -4: SolveStatus.FAILED,
    -5: SolveStatus.INTERRUPTED,
}


class ScsSolver:
    """Scales further than Clarabel, at low accuracy; its objective is no bound (it may lie on either side)."""

    name = "scs"

    def unavailable(self) -> str | None:
        """None when the package is installed."""
        return None if _external.is_installed("scs") else "SCS is not installed: pip install scs."

    def solve(self, program: LiftedProgram, options: SolverOptions) -> SolverResult:
        """Solve the relaxation, warm-started if ``options.warm_start`` has iterates; the seed is not used.

        Raises:
            InputError: the program is too large to be written as a matrix.
        """
        session = Session(program, options)
        data = with_outputs(program)
        run = _Run(data, data.lower_order(), options, session)
        try:
            outcome = run.solve(program)
        except KeyboardInterrupt:
            outcome = run.outcome(SolveStatus.INTERRUPTED, "interrupted")
        except FAILURES as error:
            if not session.outlives(error):
                raise
            outcome = run.outcome(SolveStatus.FAILED, f"SCS: {failure(error)}")
        return _external.to_result(
            program,
            data,
            outcome,
            solver=self.name,
            version=_external.package_version("scs"),
            seconds=session.seconds(),
        )


@contextmanager
def _c_output_to_stderr() -> Iterator[None]:
    """SCS prints a line on the C library's stdout when it is interrupted, verbose or not; stdout belongs to results."""
    try:
        libc = ctypes.CDLL(None)
        saved = os.dup(1)
    except (OSError, TypeError):
        # No POSIX C library, or no stdout at all: then there is nothing to protect.
        yield
        return
    try:
        with suppress(OSError):  # no stderr
            os.dup2(2, 1)
        yield
    finally:
        libc.fflush(None)
        os.dup2(saved, 1)
        os.close(saved)


@dataclass(frozen=True, eq=False)
class _Iterate:
    """x, y, s of SCS, rows in its own order."""

    x: FloatArray
    y: FloatArray
    s: FloatArray

    def usable(self) -> bool:
        """True when a further stretch can start here."""
        return bool(np.isfinite(self.x).all() and np.isfinite(self.y).all() and np.isfinite(self.s).all())


class _Run:
    """One solve: the iterate kept last, and the iterations spent. Never shared between threads."""

    def __init__(self, data: ConicData, order: IntArray, options: SolverOptions, session: Session) -> None:
        self._data, self._order, self._options, self._session = data, order, options, session
        self._matrices = {
            "P": sparse.csc_matrix(sparse.triu(data.P)),
            "A": sparse.csc_matrix(data.A.tocsr()[order]),
            "b": data.b[order],
            "c": data.q,
        }
        self._iterate: _Iterate | None = None
        self._ray: _Iterate | None = None
        self._iterations = 0

    def _workspace(self, iterations: int) -> Any:
        import scs

        settings: dict[str, Any] = {"verbose": False, "max_iters": iterations}
        settings["eps_abs"] = settings["eps_rel"] = self._options.tolerance
        if self._options.time_limit is not None:
            settings["time_limit_secs"] = max(self._options.time_limit - self._session.seconds(), SMALLEST_TIME)
        cone = {"z": self._data.zero, "l": self._data.nonnegative, "s": list(self._data.psd)}
        return scs.SCS(self._matrices, cone, **settings)

    def _start(self, program: LiftedProgram) -> None:
        primal, dual = self._options.warm_start or (None, None)
        if primal is None and dual is None:
            return
        x, y = starting_point(program, self._data, primal, dual)
        s = self._data.project(self._data.b - self._data.A @ x)
        start = _Iterate(x, y[self._order], s[self._order])
        self._iterate = start if start.usable() else None

    def _stretch(self, workspace: Any) -> tuple[dict[str, Any], bool]:
        """One call of SCS: its information, and whether it left an iterate to go on from."""
        last = self._iterate
        start = {} if last is None else {"x": last.x, "y": last.y, "s": last.s}
        with _c_output_to_stderr():
            result = workspace.solve(warm_start=last is not None, **start)
        # A stretch that failed reports −1; one that goes on counts for at least one, so that the limit is reached.
        least = 0 if result["info"]["status_val"] in FINISHED else 1
        self._iterations += max(int(result["info"]["iter"]), least)
        iterate = _Iterate(result["x"], result["y"], result["s"])
        usable = iterate.usable()
        if usable:
            self._iterate = iterate
        else:
            self._ray = iterate
        return result["info"], usable

    def solve(self, program: LiftedProgram) -> Outcome:
        """Stretch after stretch, until SCS is done, a limit is reached, or somebody asks to stop."""
        self._start(program)
        limit = MAX_ITERATIONS if self._options.max_iterations is None else self._options.max_iterations
        length, spent, built, workspace = STRETCH, 0.0, 0, None
        while True:
            wanted = max(min(length, limit - self._iterations), 1)
            if workspace is None or wanted != built or self._remaining() < 2.0 * spent:
                workspace, built = self._workspace(wanted), wanted
            begin = self._session.seconds()
            info, usable = self._stretch(workspace)
            spent = self._session.seconds() - begin
            status = self._ended(info, limit)
            if status is not None:
                return self.outcome(status, f"SCS: {info['status']}")
            if not usable:
                # It took the program for infeasible too early: begin this stretch again, and let it run longer.
                workspace, length = None, 2 * length

    def _remaining(self) -> float:
        limit = self._options.time_limit
        return float("inf") if limit is None else limit - self._session.seconds()

    def _ended(self, info: dict[str, Any], limit: int) -> SolveStatus | None:
        if info["status_val"] in FINISHED:
            return FINISHED[info["status_val"]]
        if "time_limit" in info["status"] or self._session.out_of_time():
            return SolveStatus.TIME_LIMIT
        if self._iterations >= limit:
            return SolveStatus.ITERATION_LIMIT
        if self._iterate is None:
            return None
        return self._session.report(
            iteration=self._iterations,
            objective=float(info["pobj"]),
            primal_residual=float(info["res_pri"]),
            dual_residual=float(info["res_dual"]),
            rank=self._data.psd[0],
            dual=self._dual,
        )

    def _own_order(self, y: FloatArray) -> FloatArray:
        out = np.empty_like(y)
        out[self._order] = y
        return out

    def _dual(self) -> RawDual:
        assert self._iterate is not None
        return self._data.recover_dual(self._iterate.x, self._own_order(self._iterate.y))

    def outcome(self, status: SolveStatus, message: str) -> Outcome:
        """The last usable iterate with this status, or else a ray, of which x or y may be finite."""
        iterate = self._iterate or self._ray
        if iterate is None:
            return Outcome(None, None, status, message, self._iterations)
        return Outcome(iterate.x, self._own_order(iterate.y), status, message, self._iterations)
