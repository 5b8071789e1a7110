"""Clarabel, SCS and MOSEK on the relaxation that ``formulations.modeling`` states in CVXPY.

CVXPY writes the program down in the form of each solver and reads the multipliers back. Clarabel and SCS are called
here, on what CVXPY has written, since CVXPY keeps no iterate of a solve that was interrupted and cannot call back.

What was found about Ctrl-C. Clarabel 0.11 releases the interpreter lock and looks at no signals, so a solve in the main
thread holds KeyboardInterrupt back until it is done. It is therefore run in a worker thread and asked to end through
its termination callback, which is called once an iteration; versions without one, and MOSEK, are left behind. SCS 3.3
takes SIGINT over while it runs, looks at it once an iteration, prints one line and returns NaN for all iterates with
status −5; no KeyboardInterrupt is raised. At a limit it may also declare the program infeasible and return NaN for x.
It is therefore run in stretches of some hundred iterations, each warm-started: the iterate of the last complete stretch
is what an interrupted solve hands over, and the callback is called in between.
"""

import ctypes
import importlib.util
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from certnet.runtime.machine import version
from certnet.runtime.numerics import FAILURES, failure
from certnet.solvers._session import Session
from certnet.solvers.interface import SolverOptions, SolverResult, SolveStatus
from formulations import Dual, InputError, Primal, Program
from formulations._validation import FloatArray
from formulations.modeling.compiled import Compiled

POLL_SECONDS = 0.05
GRACE_SECONDS = 5.0
SMALLEST_TIME = 1e-3
STRETCH = 500
"""SCS adapts its step only every 100 iterations and within one stretch, so shorter ones converge worse."""
MAX_ITERATIONS = 100_000

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


def run_in_worker(work: Callable[[], Ended], stop: threading.Event) -> Ended:
    """Run ``work`` in a thread of its own while this one listens for Ctrl-C.

    Extensions that release the interpreter lock but do not look at signals would otherwise hold Ctrl-C back until they
    are done. On KeyboardInterrupt ``stop`` is set, which ``work`` is to obey; if it has not ended after a few seconds,
    or at a second Ctrl-C, it is left behind (a daemon thread). KeyboardInterrupt is not raised again: the status tells.
    """
    done: list[Ended] = []
    # An event, since a join that Ctrl-C ends early may take the thread for finished (Python 3.11).
    finished = threading.Event()

    def target() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 (a Rust panic is no Exception, and must not vanish in a thread)
            done.append((SolveStatus.FAILED, failure(error)))
        finally:
            finished.set()

    thread = threading.Thread(target=target, daemon=True, name="certnet-solver")
    try:
        thread.start()
        # Waiting in short turns lets Ctrl-C through on every platform.
        while not finished.wait(POLL_SECONDS):
            pass
    except KeyboardInterrupt:
        stop.set()
        with suppress(KeyboardInterrupt):
            finished.wait(GRACE_SECONDS)
    return done[0] if done else (SolveStatus.INTERRUPTED, "interrupted before the solver handed over an iterate")


class _Modelled:
    """One solver behind CVXPY; subclasses say how it is run."""

    name: str
    title: str
    largest = math.inf

    def unavailable(self) -> str | None:
        """None when the package and CVXPY are installed."""
        for package, title in ((self.name, self.title), ("cvxpy", "CVXPY")):
            if importlib.util.find_spec(package) is None:
                return f"{title} is not installed: pip install {package}."
        return None

    def solve(self, program: Program, options: SolverOptions) -> SolverResult:
        """Solve the relaxation and return the last iterates; the seed is not used.

        Raises:
            InputError: the program is too large for this solver, or to be written down.
        """
        session = Session(program, options)
        order = program.space.face_order
        if not (order * (order + 1) // 2 <= self.largest):
            raise InputError(
                f"a program of order {order} needs more memory than {self.title} can use; "
                "choose solver 'admm' or 'interior-point'."
            )
        compiled = None
        try:
            compiled = Compiled(program, self.name.upper())
            status, words = self._run(compiled, options, session)
        except KeyboardInterrupt:
            status, words = SolveStatus.INTERRUPTED, "interrupted"
        except FAILURES as error:
            if not session.outlives(error):
                raise
            status, words = SolveStatus.FAILED, failure(error)
        return self._result(program, compiled, status, f"{self.title}: {words}".rstrip(" .\n"), session)

    def _run(self, compiled: Compiled, options: SolverOptions, session: Session) -> Ended:
        raise NotImplementedError

    def _result(
        self, program: Program, compiled: Compiled | None, status: SolveStatus, message: str, session: Session
    ) -> SolverResult:
        """Iterates that are not finite are dropped, and the status is FAILED when any is.

        An interrupted solve keeps its status.
        """
        primal, dual = (None, None) if compiled is None else compiled.recover()
        if primal is None or dual is None:
            part = "dual iterate" if primal is not None else "primal iterate" if dual is not None else "iterate"
            message = f"{message}; no finite {part}"
            status = status if status is SolveStatus.INTERRUPTED else SolveStatus.FAILED
        residuals = _residuals(program, primal, dual)
        return SolverResult(
            primal=primal,
            dual=dual,
            objective=float("nan") if primal is None else program.value(program.space.moment(primal.S)),
            status=status,
            message=message,
            solver=self.name,
            version=version(self.name) or "unknown",
            iterations=0 if compiled is None else compiled.iterations,
            seconds=session.seconds(),
            primal_residual=residuals[0],
            dual_residual=residuals[1],
        )


def _residuals(program: Program, primal: Primal | None, dual: Dual | None) -> tuple[float, float]:
    """How far the primal is from S ⪰ 0 and the signs, over 1+‖T‖, and the dual likewise, over 1+γ‖E‖."""
    if primal is None or dual is None:
        return float("inf"), float("inf")
    space, i = program.space, np.arange(program.space.neurons)

    def outside(signs: FloatArray, matrix: FloatArray) -> float:
        if not np.isfinite(matrix).all():
            return float("inf")
        negative = np.minimum(np.linalg.eigvalsh(matrix), 0.0)
        return float(np.hypot(np.linalg.norm(np.minimum(signs, 0.0)), np.linalg.norm(negative)))

    G = space.moment(primal.S)[space.phi, space.phi]
    signs = dual.N.copy()
    signs[i, i + len(i)] = signs[i + len(i), i] = 0.0
    off_primal = float(np.hypot(outside(G, primal.S), np.linalg.norm(G[i, i + len(i)])))
    off_dual = outside(signs, program.slack(dual.W, dual.N) / program.gamma)
    return (
        off_primal / (1.0 + float(np.linalg.norm(program.target))),
        off_dual / (1.0 + program.gamma * float(np.linalg.norm(program.metric))),
    )


def _left(options: SolverOptions, session: Session) -> float | None:
    """Seconds that the solver may take."""
    return None if options.time_limit is None else max(options.time_limit - session.seconds(), SMALLEST_TIME)


class ClarabelSolver(_Modelled):
    """Accurate for small programs (order N+k+c up to about 100); time grows with the sixth power of the order.

    The information of its termination callback has no iterates, so callbacks are ignored, and so are warm starts.
    """

    name, title = "clarabel", "Clarabel"
    largest = 30_000  # It factors a dense block of this order; beyond it that needs more than some 10 GB.

    def _run(self, compiled: Compiled, options: SolverOptions, session: Session) -> Ended:
        stop = threading.Event()

        def work() -> Ended:
            import clarabel

            settings = clarabel.DefaultSettings()
            settings.verbose = False
            settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = options.tolerance
            # Every block is dense, so there is nothing to decompose.
            settings.chordal_decomposition_enable = False
            if options.max_iterations is not None:
                settings.max_iter = options.max_iterations
            if (left := _left(options, session)) is not None:
                settings.time_limit = left
            P, c, A, b = compiled.matrices()
            zero, nonnegative, order = compiled.cones()
            cones = [clarabel.ZeroConeT(zero), clarabel.NonnegativeConeT(nonnegative), clarabel.PSDTriangleConeT(order)]
            solver = clarabel.DefaultSolver(P, c, A, b, cones, settings)
            if hasattr(solver, "set_termination_callback"):
                solver.set_termination_callback(lambda _: stop.is_set())
            solution = solver.solve()
            word = str(solution.status)
            compiled.iterations = int(solution.iterations)
            # Called solved, so that CVXPY reads the iterates whatever happened.
            fields = {field: getattr(solution, field) for field in ("x", "z", "obj_val", "solve_time", "iterations")}
            compiled.keep(SimpleNamespace(**fields, status="Solved"))
            return _CLARABEL.get(word, SolveStatus.FAILED), word

        return run_in_worker(work, stop)


class MosekSolver(_Modelled):
    """Accurate; needs a licence. Warm starts and callbacks are not used, and Ctrl-C leaves it behind."""

    name, title = "mosek", "MOSEK"

    def unavailable(self) -> str | None:
        """None when the package can be imported and a licence can be checked out."""
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

    def _run(self, compiled: Compiled, options: SolverOptions, session: Session) -> Ended:
        def work() -> Ended:
            names = [f"MSK_DPAR_INTPNT_CO_TOL_{name}" for name in ("REL_GAP", "PFEAS", "DFEAS")]
            parameters: dict[str, float] = dict.fromkeys(names, options.tolerance)
            if options.max_iterations is not None:
                parameters["MSK_IPAR_INTPNT_MAX_ITERATIONS"] = options.max_iterations
            if (left := _left(options, session)) is not None:
                parameters["MSK_DPAR_OPTIMIZER_MAX_TIME"] = left
            wishes = {"mosek_params": parameters, "accept_unknown": True}
            answer = compiled.chain.solve_via_data(compiled.problem, compiled.data, solver_opts=wishes)
            solution = compiled.keep(answer)
            compiled.iterations, word = int(solution.attr.get("num_iters") or 0), str(solution.status)
            if word == "optimal":
                return SolveStatus.CONVERGED, word
            if session.out_of_time():
                return SolveStatus.TIME_LIMIT, word
            limited = options.max_iterations is not None and compiled.iterations >= options.max_iterations
            return SolveStatus.ITERATION_LIMIT if limited else SolveStatus.INACCURATE, word

        # Nothing tells MOSEK to stop through CVXPY.
        return run_in_worker(work, threading.Event())


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


class ScsSolver(_Modelled):
    """Scales further than Clarabel, at low accuracy; its objective is no bound (it may lie on either side)."""

    name, title = "scs", "SCS"

    def _run(self, compiled: Compiled, options: SolverOptions, session: Session) -> Ended:
        """Stretch after stretch, until SCS is done, a limit is reached, or somebody asks to stop."""
        last = _keep(compiled, compiled.start(*options.warm_start)) if options.warm_start else {}
        limit = MAX_ITERATIONS if options.max_iterations is None else options.max_iterations
        length, spent, built, workspace = STRETCH, 0.0, 0, None
        while True:
            wanted, left = max(min(length, limit - compiled.iterations), 1), _left(options, session)
            if workspace is None or wanted != built or not (left is None or left >= 2.0 * spent):
                workspace, built = _workspace(compiled, options.tolerance, wanted, left), wanted
            begin = session.seconds()
            with _c_output_to_stderr():
                answer = workspace.solve(warm_start=bool(last), **last)
            spent, info = session.seconds() - begin, answer["info"]
            # A stretch that failed reports −1; one that goes on counts for at least one, so that the limit is reached.
            compiled.iterations += max(int(info["iter"]), 0 if info["status_val"] in _SCS else 1)
            iterate = _keep(compiled, {part: answer[part] for part in ("x", "y", "s")})
            last = iterate or last
            status = _ended(info, compiled, limit, session, anything=bool(last))
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


def _workspace(compiled: Compiled, tolerance: float, iterations: int, left: float | None) -> Any:
    import scs

    limits = {} if left is None else {"time_limit_secs": left}
    zero, nonnegative, order = compiled.cones()
    return scs.SCS(
        dict(zip(("P", "c", "A", "b"), compiled.matrices(), strict=True)),
        {"z": zero, "l": nonnegative, "s": [order]},
        verbose=False,
        max_iters=iterations,
        eps_abs=tolerance,
        eps_rel=tolerance,
        **limits,
    )


def _ended(
    info: dict[str, Any], compiled: Compiled, limit: int, session: Session, *, anything: bool
) -> SolveStatus | None:
    """Why SCS does not go on, or None."""
    if info["status_val"] in _SCS:
        return _SCS[info["status_val"]]
    if "time_limit" in info["status"] or session.out_of_time():
        return SolveStatus.TIME_LIMIT
    if compiled.iterations >= limit:
        return SolveStatus.ITERATION_LIMIT
    if not anything:
        return None
    return session.report(
        iteration=compiled.iterations,
        objective=float(info["pobj"]),
        primal_residual=float(info["res_pri"]),
        dual_residual=float(info["res_dual"]),
        rank=compiled.cones()[2],
        dual=lambda: cast(Dual, compiled.recover()[1]),
    )
