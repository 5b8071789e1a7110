"""Clarabel, SCS and MOSEK on the relaxation that ``formulations.modeling`` states in CVXPY.

CVXPY writes the program down in the form of each solver and reads the multipliers back. Clarabel and SCS are called
here, on what CVXPY has written, since CVXPY keeps no iterate of a solve that was interrupted and cannot call back.

What was found about Ctrl-C. Clarabel 0.11 releases the interpreter lock and looks at no signals, so a solve in the main
thread holds KeyboardInterrupt back until it is done. It is therefore run in a thread of its own and asked to end
through its termination callback, which is called once an iteration; versions without one, and MOSEK, are left behind.
SCS 3.3 takes SIGINT over while it runs, looks at it once an iteration, prints one line and returns NaN for all iterates
with status −5; no KeyboardInterrupt is raised. At a limit it may also declare the program infeasible and return NaN for
x. It is therefore run in stretches of some hundred iterations, each warm-started: the iterate of the last complete
stretch is what an interrupted solve hands over, and the callback is called in between.
"""

import ctypes
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from certnet.runtime.abandon import abandonable
from certnet.runtime.machine import version
from certnet.runtime.numerics import failure
from certnet.solvers.interface import SolverOptions, SolverResult, SolveStatus
from certnet.solvers.session import Session
from formulations import Dual, InputError, Primal, Program
from formulations._validation import FloatArray
from formulations.modeling.compiled import Compiled

STRETCH = 500
"""SCS adapts its step only every 100 iterations and within one stretch, so shorter ones converge worse."""
MAX_ITERATIONS = 100_000
LARGEST_CLARABEL = 30_000
"""Clarabel factors a dense block of this order; beyond it that needs more than some 10 GB."""
TITLES = {"clarabel": "Clarabel", "scs": "SCS", "mosek": "MOSEK"}

NOT_INSTALLED = "MOSEK is not installed: pip install 'certnet[mosek]'; it also needs a licence file."
NOT_LICENSED = (
    "MOSEK is installed but has no valid licence: get one at https://www.mosek.com and place it as mosek.lic in "
    "a folder mosek below your home folder, or name it in MOSEKLM_LICENSE_FILE."
)

_CLARABEL = {
    "Solved": SolveStatus.CONVERGED,
    "AlmostSolved": SolveStatus.INACCURATE,
    "InsufficientProgress": SolveStatus.INACCURATE,
    "MaxIterations": SolveStatus.ITERATION_LIMIT,
    "MaxTime": SolveStatus.TIME_LIMIT,
    "CallbackTerminated": SolveStatus.INTERRUPTED,
}
_SCS = {1: SolveStatus.CONVERGED, -3: SolveStatus.FAILED, -4: SolveStatus.FAILED, -5: SolveStatus.INTERRUPTED}

Ended = tuple[SolveStatus, str]
"""How a solve ended, and the solver's own words."""


def unavailable(name: str) -> str | None:
    """None when package, CVXPY and licence are there; otherwise a sentence that says what is missing."""
    if name != "mosek":
        needed = ((name, TITLES[name]), ("cvxpy", "CVXPY"))
        missing = (package for package in needed if importlib.util.find_spec(package[0]) is None)
        return next((f"{title} is not installed: pip install {package}." for package, title in missing), None)
    try:
        import mosek
    except ImportError:
        return NOT_INSTALLED
    try:
        with mosek.Env() as environment:
            # Cones need both features.
            environment.checkoutlicense(mosek.feature.pts)
            environment.checkoutlicense(mosek.feature.pton)
    except mosek.Error as error:
        return f"{NOT_LICENSED} ({getattr(error, 'msg', '') or failure(error)})"
    return None


def _solve(name: str, program: Program, options: SolverOptions) -> SolverResult:
    """Solve the relaxation and return the last iterates; those that are not finite are dropped.

    Raises:
        InputError: the program is too large for this solver, or to be written down.
    """
    session, order, compiled = Session(program, options), program.space.face_order, None
    if name == "clarabel" and not (order * (order + 1) // 2 <= LARGEST_CLARABEL):
        raise InputError(
            f"a program of order {order} needs more memory than Clarabel can use; "
            "choose solver 'admm' or 'interior-point'."
        )
    try:
        compiled = Compiled(program, name.upper())
        status, words = RUNS[name](compiled, options, session)
    except KeyboardInterrupt:
        status, words = SolveStatus.INTERRUPTED, "interrupted before the solver handed over an iterate"
    except BaseException as error:
        # A panic of Rust is no Exception.
        known = isinstance(error, Exception) or type(error).__name__ == "PanicException"
        if not (known and session.outlives(error)):
            raise
        status, words = SolveStatus.FAILED, failure(error)
    message = f"{TITLES[name]}: {words}".rstrip(" .\n")
    primal, dual = (None, None) if compiled is None else compiled.recover()
    if primal is None or dual is None:
        part = "dual iterate" if primal is not None else "primal iterate" if dual is not None else "iterate"
        message = f"{message}; no finite {part}"
        status = status if status is SolveStatus.INTERRUPTED else SolveStatus.FAILED
    residuals = (np.inf, np.inf) if primal is None or dual is None else _residuals(program, primal, dual)
    return SolverResult(
        primal=primal,
        dual=dual,
        objective=float("nan") if primal is None else program.value(program.space.moment(primal.S)),
        status=status,
        message=message,
        solver=name,
        version=version(name) or "unknown",
        iterations=0 if compiled is None else compiled.iterations,
        seconds=session.seconds(),
        primal_residual=residuals[0],
        dual_residual=residuals[1],
    )


def _residuals(program: Program, primal: Primal, dual: Dual) -> tuple[float, float]:
    """How far the primal is from S ⪰ 0 and the signs, over 1+‖T‖, and the dual likewise, over 1+γ‖E‖."""
    space, i = program.space, np.arange(program.space.neurons)

    def below(*parts: Any) -> float:
        return float(np.linalg.norm(np.concatenate([np.minimum(part, 0.0).ravel() for part in parts])))

    G, slack = space.moment(primal.S)[space.phi, space.phi], program.slack(dual.W, dual.N) / program.gamma
    signs = dual.N.copy()
    signs[i, i + len(i)] = signs[i + len(i), i] = 0.0
    off_primal = below(G, np.linalg.eigvalsh(primal.S), -np.abs(G[i, i + len(i)]))
    off_dual = below(signs, np.linalg.eigvalsh(slack)) if np.isfinite(slack).all() else np.inf
    return (
        off_primal / (1.0 + (0.0 if program.loss is None else program.loss.size())),
        off_dual / (1.0 + program.gamma * float(np.linalg.norm(program.metric))),
    )


def _left(session: Session) -> float | None:
    """Seconds that the solver may take."""
    return None if np.isinf(session.deadline.moment) else max(session.deadline.left, 1e-3)


def _run_clarabel(compiled: Compiled, options: SolverOptions, session: Session) -> Ended:
    """Accurate for small programs (order N+k+c up to about 100); time grows with the sixth power of the order.

    The information of its termination callback has no iterates, so callbacks are ignored, and so are warm starts.
    """
    stop = threading.Event()

    def work() -> Ended:
        import clarabel

        settings = clarabel.DefaultSettings()
        settings.verbose = False
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = options.tolerance
        # Every block is dense, so there is nothing to decompose.
        settings.chordal_decomposition_enable = False
        settings.max_iter = options.max_iterations or settings.max_iter
        settings.time_limit = _left(session) or settings.time_limit
        P, c, A, b = compiled.matrices()
        zero, nonnegative, order = compiled.cones()
        second_order, exponential = compiled.other_cones()
        cones = [clarabel.ZeroConeT(zero), clarabel.NonnegativeConeT(nonnegative)]
        cones += [clarabel.SecondOrderConeT(size) for size in second_order]
        cones += [clarabel.PSDTriangleConeT(order), *(clarabel.ExponentialConeT() for _ in range(exponential))]
        solver = clarabel.DefaultSolver(P, c, A, b, cones, settings)
        if hasattr(solver, "set_termination_callback"):
            solver.set_termination_callback(lambda _: stop.is_set())
        solution = solver.solve()
        compiled.iterations = int(solution.iterations)
        # Called solved, so that CVXPY reads the iterates whatever happened.
        fields = {field: getattr(solution, field) for field in ("x", "z", "obj_val", "solve_time", "iterations")}
        compiled.keep(SimpleNamespace(**fields, status="Solved"))
        return _CLARABEL.get(str(solution.status), SolveStatus.FAILED), str(solution.status)

    return abandonable(work, interrupt=stop.set)


def _run_mosek(compiled: Compiled, options: SolverOptions, session: Session) -> Ended:
    """Accurate; needs a licence. Warm starts and callbacks are not used, and Ctrl-C leaves it behind."""
    names = [f"MSK_DPAR_INTPNT_CO_TOL_{name}" for name in ("REL_GAP", "PFEAS", "DFEAS")]
    parameters: dict[str, float] = dict.fromkeys(names, options.tolerance)
    if options.max_iterations is not None:
        parameters["MSK_IPAR_INTPNT_MAX_ITERATIONS"] = options.max_iterations
    if left := _left(session):
        parameters["MSK_DPAR_OPTIMIZER_MAX_TIME"] = left
    wishes = {"mosek_params": parameters, "accept_unknown": True}

    def work() -> Ended:
        solution = compiled.keep(compiled.chain.solve_via_data(compiled.problem, compiled.data, solver_opts=wishes))
        compiled.iterations, word = int(solution.attr.get("num_iters") or 0), str(solution.status)
        if word == "optimal":
            return SolveStatus.CONVERGED, word
        if session.out_of_time():
            return SolveStatus.TIME_LIMIT, word
        limited = options.max_iterations is not None and compiled.iterations >= options.max_iterations
        return SolveStatus.ITERATION_LIMIT if limited else SolveStatus.INACCURATE, word

    # Nothing tells MOSEK to stop through CVXPY.
    return abandonable(work, interrupt=lambda: None)


def _run_scs(compiled: Compiled, options: SolverOptions, session: Session) -> Ended:
    """Scales further than Clarabel, at low accuracy; its objective is no bound (it may lie on either side).

    Stretch after stretch, until SCS is done, a limit is reached, or somebody asks to stop.
    """
    import scs

    matrices = dict(zip(("P", "c", "A", "b"), compiled.matrices(), strict=True))
    zero, nonnegative, order = compiled.cones()
    second_order, exponential = compiled.other_cones()
    cones = {"z": zero, "l": nonnegative, "q": second_order, "s": [order], "ep": exponential}
    settings = {"verbose": False, "eps_abs": options.tolerance, "eps_rel": options.tolerance}
    last = _keep(compiled, compiled.start(*options.warm_start)) if options.warm_start else {}
    limit = MAX_ITERATIONS if options.max_iterations is None else options.max_iterations
    length, spent, built, workspace = STRETCH, 0.0, 0, None
    while True:
        wanted, left = max(min(length, limit - compiled.iterations), 1), _left(session)
        if workspace is None or wanted != built or not (left is None or left >= 2.0 * spent):
            timed = settings if left is None else {**settings, "time_limit_secs": left}
            workspace, built = scs.SCS(matrices, cones, max_iters=wanted, **timed), wanted
        begin = session.seconds()
        with _c_output_to_stderr():
            answer = workspace.solve(warm_start=bool(last), **last)
        spent, info = session.seconds() - begin, answer["info"]
        # A stretch that failed reports −1; one that goes on counts for at least one, so that the limit is reached.
        compiled.iterations += max(int(info["iter"]), 0 if info["status_val"] in _SCS else 1)
        iterate = _keep(compiled, {part: answer[part] for part in ("x", "y", "s")})
        last = iterate or last
        status = _SCS.get(info["status_val"])
        if status is None and ("time_limit" in info["status"] or session.out_of_time()):
            status = SolveStatus.TIME_LIMIT
        if status is None and compiled.iterations >= limit:
            status = SolveStatus.ITERATION_LIMIT
        if status is None and last:
            status = session.report(
                iteration=compiled.iterations,
                objective=float(info["pobj"]),
                primal_residual=float(info["res_pri"]),
                dual_residual=float(info["res_dual"]),
                rank=order,
                dual=lambda: cast(Dual, compiled.recover()[1]),
            )
        if status is not None:
            return status, str(info["status"])
        if not iterate:
            # It took the program for infeasible too early: begin this stretch again, and let it run longer.
            workspace, length = None, 2 * length


def _keep(compiled: Compiled, iterate: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Keep x, y, s where a further stretch can start there and return them, or nothing.

    Before the first of them a ray is kept, of which x or y may be finite.
    """
    usable = all(np.isfinite(part).all() for part in iterate.values())
    if usable or compiled.solution is None:
        # Called solved, as above.
        compiled.keep(
            {**iterate, "info": dict.fromkeys(("solve_time", "setup_time", "iter", "pobj"), 0) | {"status_val": 1}}
        )
    return iterate if usable else {}


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


RUNS: dict[str, Callable[[Compiled, SolverOptions, Session], Ended]] = {
    "clarabel": _run_clarabel,
    "scs": _run_scs,
    "mosek": _run_mosek,
}
clarabel, scs, mosek = (cast(Any, partial(_solve, name)) for name in RUNS)
