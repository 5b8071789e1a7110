"""Clarabel, SCS and MOSEK on the relaxation that ``formulations.modeling`` states in CVXPY.

CVXPY writes the program down in the form of each solver, calls it, and reads the multipliers back, also those of a
solve that ended early. None of the three hears of Ctrl-C in good order then: Clarabel 0.11 and MOSEK release the lock
of the interpreter and look at no signals, SCS 3.3 takes SIGINT over while it runs, prints one line and returns NaN. So
each runs in a thread of its own, which is left behind at Ctrl-C.
"""

import ctypes
import importlib.util
import os
import threading
from collections.abc import Iterator
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
from formulations.modeling.compiled import Compiled

LARGEST_CLARABEL = 30_000
"""Clarabel factors a dense block of this order; beyond it that needs more than some 10 GB."""
TITLES = {"clarabel": "Clarabel", "scs": "SCS", "mosek": "MOSEK"}

NOT_INSTALLED = "MOSEK is not installed: pip install 'certnet[mosek]'; it also needs a licence file."
NOT_LICENSED = (
    "MOSEK is installed but has no valid licence: get one at https://www.mosek.com and place it as mosek.lic in "
    "a folder mosek below your home folder, or name it in MOSEKLM_LICENSE_FILE."
)


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
    session, order, compiled, iterations = Session(program, options), program.space.face_order, None, 0
    if name == "clarabel" and not (order * (order + 1) // 2 <= LARGEST_CLARABEL):
        raise InputError(
            f"a program of order {order} needs more memory than Clarabel can use; "
            "choose solver 'admm' or 'interior-point'."
        )
    try:
        compiled = Compiled(program, name.upper())
        status, words, iterations = _run(name, compiled, options, session)
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
        iterations=iterations,
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


def _wishes(name: str, options: SolverOptions, left: float | None) -> dict[str, Any]:
    """What a solver is told within the seconds left; what is None is not said."""
    tolerance, steps = options.tolerance, options.max_iterations
    if name == "clarabel":
        # Accurate for small programs (order N+k+c up to about 100); time grows with the sixth power of the order. Every
        # block is dense, so there is nothing to decompose.
        tolerances = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), tolerance)
        return {**tolerances, "chordal_decomposition_enable": False, "max_iter": steps, "time_limit": left}
    if name == "scs":
        # Scales further than Clarabel, at low accuracy; its objective is no bound (it may lie on either side). The
        # program is feasible and bounded; what looks otherwise is too early a verdict.
        tolerances = {"eps_abs": tolerance, "eps_rel": tolerance, "eps_infeas": 1e-15}
        return {**tolerances, "max_iters": steps, "time_limit_secs": left}
    names = [f"MSK_DPAR_INTPNT_CO_TOL_{what}" for what in ("REL_GAP", "PFEAS", "DFEAS")]
    limits = {"MSK_IPAR_INTPNT_MAX_ITERATIONS": steps, "MSK_DPAR_OPTIMIZER_MAX_TIME": left}
    return {"mosek_params": _given(dict.fromkeys(names, tolerance) | limits), "accept_unknown": True}


def _read(name: str, compiled: Compiled, answer: Any) -> tuple[SolveStatus | None, str, int]:
    """How a solve ended (None where it stopped before it was done), the solver's own words, and its iterations.

    Iterates are kept as those of a solve that is called solved, so that CVXPY reads them whatever happened.
    """
    if name == "clarabel":
        fields = {field: getattr(answer, field) for field in ("x", "z", "obj_val", "solve_time", "iterations")}
        compiled.keep(SimpleNamespace(**fields, status="Solved"))
        word = str(answer.status)
        ended = {"Solved": SolveStatus.CONVERGED, "NumericalError": SolveStatus.FAILED}.get(word)
        return ended, word, int(answer.iterations)
    if name == "scs":
        info = answer["info"]
        compiled.keep({**answer, "info": {**info, "status_val": 1}})
        known = {1: SolveStatus.CONVERGED, -3: SolveStatus.FAILED, -4: SolveStatus.FAILED, -5: SolveStatus.INTERRUPTED}
        return known.get(info["status_val"]), str(info["status"]), max(int(info["iter"]), 0)
    solution = compiled.keep(answer)
    word = str(solution.status)
    return SolveStatus.CONVERGED if word == "optimal" else None, word, int(solution.attr.get("num_iters") or 0)


def _given(wishes: dict[str, Any]) -> dict[str, Any]:
    """Those that are not None."""
    return {name: wish for name, wish in wishes.items() if wish is not None}


def _run(name: str, compiled: Compiled, options: SolverOptions, session: Session) -> tuple[SolveStatus, str, int]:
    """How the solve ended, the solver's own words, and its iterations. Callbacks and warm starts are not used."""
    given = _given(_wishes(name, options, session.deadline.limit))
    call = partial(compiled.chain.solve_via_data, compiled.problem, compiled.data, solver_opts=given)
    with _c_output_to_stderr():
        # Nothing tells them to stop through CVXPY.
        answer = abandonable(call, interrupt=lambda: None, patience=0.0)
    status, words, iterations = _read(name, compiled, answer)
    if status is None:
        status = SolveStatus.INACCURATE
        if "iter" in words.lower() or iterations >= (options.max_iterations or np.inf):
            status = SolveStatus.ITERATION_LIMIT
        elif session.out_of_time():
            status = SolveStatus.TIME_LIMIT
    return status, words, iterations


@contextmanager
def _c_output_to_stderr() -> Iterator[None]:
    """SCS prints a line on the C library's stdout when it is interrupted, verbose or not; stdout belongs to results.

    Only for the main thread, which Ctrl-C interrupts: two threads at once would restore each other's stdout.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
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


clarabel, scs, mosek = (cast(Any, partial(_solve, name)) for name in TITLES)
