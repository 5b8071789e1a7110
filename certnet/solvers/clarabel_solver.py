"""Clarabel, an interior-point solver in Rust, on the reduced relaxation with its output block.

What was found about Ctrl-C: Clarabel 0.11 releases the interpreter lock and looks at no signals, so a solve in the main
thread holds KeyboardInterrupt back until it is done. It is therefore run in a worker thread and asked to end through
its termination callback, which is called once an iteration; versions without one are left to finish on their own.
The information of that callback has no iterates, so ``SolverOptions.callback`` is ignored.
"""

import threading
import time
from typing import Any

import numpy as np
from scipy import sparse

from certnet.solvers import _external
from certnet.solvers._external import Outcome
from certnet.solvers.interface import SolverOptions, SolverResult, SolveStatus
from formulations import InputError, LiftedProgram
from formulations.conic import ConicData, triangle_size, with_outputs

MAXIMUM_TRIANGLE = 30_000
"""Clarabel factors a dense block of this order; beyond it that needs more than some 10 GB."""

_STATUS = {
    "Solved": SolveStatus.CONVERGED,
    "AlmostSolved": SolveStatus.INACCURATE,
    "InsufficientProgress": SolveStatus.INACCURATE,
    "MaxIterations": SolveStatus.ITERATION_LIMIT,
    "MaxTime": SolveStatus.TIME_LIMIT,
    "CallbackTerminated": SolveStatus.INTERRUPTED,
}


class ClarabelSolver:
    """Accurate for small programs (order N+k+c up to about 100); time grows with the sixth power of the order."""

    name = "clarabel"

    def unavailable(self) -> str | None:
        """None when the package is installed."""
        return None if _external.is_installed("clarabel") else "Clarabel is not installed: pip install clarabel."

    def solve(self, program: LiftedProgram, options: SolverOptions) -> SolverResult:
        """Solve the relaxation; warm starts, callbacks and the seed are not used.

        Raises:
            InputError: the program is too large for this solver.
        """
        start = time.perf_counter()
        if triangle_size(program.space.face_order) > MAXIMUM_TRIANGLE:
            raise InputError(
                f"a program of order {program.space.face_order} needs more memory than Clarabel can use; "
                "choose solver 'admm' or 'interior-point'."
            )
        data = with_outputs(program)
        return _external.solve_in_worker(
            program, data, lambda stop: _run(data, options, stop), solver=self.name, start=start
        )


def _settings(options: SolverOptions) -> Any:
    import clarabel

    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = options.tolerance
    # Every block is dense, so there is nothing to decompose.
    settings.chordal_decomposition_enable = False
    if options.time_limit is not None:
        settings.time_limit = options.time_limit
    if options.max_iterations is not None:
        settings.max_iter = options.max_iterations
    return settings


def _run(data: ConicData, options: SolverOptions, stop: threading.Event) -> Outcome:
    import clarabel

    cones = [clarabel.ZeroConeT(data.zero), clarabel.NonnegativeConeT(data.nonnegative)]
    cones += [clarabel.PSDTriangleConeT(order) for order in data.psd]
    P = sparse.csc_matrix(sparse.triu(data.P))
    solver = clarabel.DefaultSolver(P, data.q, sparse.csc_matrix(data.A), data.b, cones, _settings(options))
    if hasattr(solver, "set_termination_callback"):
        solver.set_termination_callback(lambda _: stop.is_set())
    solution = solver.solve()
    word = str(solution.status)
    return Outcome(
        x=np.array(solution.x),
        y=np.array(solution.z),
        status=_STATUS.get(word, SolveStatus.FAILED),
        message=f"Clarabel: {word}",
        iterations=int(solution.iterations),
        statistics={"solve_seconds": float(solution.solve_time)},
    )
