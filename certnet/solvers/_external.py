"""What the wrapped solvers share: from conic iterates to a result, and how a solve is interrupted."""

import importlib.util
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

import numpy as np

from certnet.solvers.interface import SolverResult, SolveStatus
from formulations import LiftedProgram
from formulations._validation import FloatArray
from formulations.conic import ConicData

POLL_SECONDS = 0.05
GRACE_SECONDS = 5.0
INTERRUPTED_WITHOUT_ITERATE = "interrupted before the solver handed over an iterate"


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a wrapped solver ended; x and y in the row order of ``ConicData``, None when there is none."""

    x: FloatArray | None
    y: FloatArray | None
    status: SolveStatus
    message: str
    iterations: int
    statistics: dict[str, float] = field(default_factory=dict)


def failed(message: str) -> Outcome:
    """A solve that left nothing."""
    return Outcome(None, None, SolveStatus.FAILED, message, 0)


def interrupted() -> Outcome:
    """A solve that was interrupted and left nothing."""
    return Outcome(None, None, SolveStatus.INTERRUPTED, INTERRUPTED_WITHOUT_ITERATE, 0)


def is_installed(package: str) -> bool:
    """True when the package can be found; it is not imported."""
    return importlib.util.find_spec(package) is not None


def package_version(package: str) -> str:
    """Version of an installed package, or "unknown"."""
    try:
        return installed_version(package)
    except PackageNotFoundError:
        return "unknown"


def _finite(vector: FloatArray | None) -> FloatArray | None:
    return vector if vector is not None and bool(np.isfinite(vector).all()) else None


def to_result(
    program: LiftedProgram, data: ConicData, outcome: Outcome, *, solver: str, version: str, seconds: float
) -> SolverResult:
    """Map the iterates back. Iterates that are not finite are dropped, and the status is FAILED when any is.

    An interrupted solve keeps its status.
    """
    x, y = _finite(outcome.x), _finite(outcome.y)
    status, message = outcome.status, outcome.message
    if x is None or y is None:
        message = f"{message}; no finite {'iterate' if x is y else 'primal iterate' if x is None else 'dual iterate'}"
        status = status if status is SolveStatus.INTERRUPTED else SolveStatus.FAILED
    residuals = data.residuals(x, y) if x is not None and y is not None else (float("inf"), float("inf"))
    primal = None if x is None else data.recover_primal(x)
    objective = float("nan")
    if primal is not None and primal.outputs:
        objective = program.value(program.space.moment(primal.S))
    elif x is not None:
        objective = data.value(x)
    return SolverResult(
        primal=primal,
        # Where only the multipliers are finite, no form here needs x to map them back.
        dual=None if y is None else data.recover_dual(np.zeros(len(data.q)) if x is None else x, y),
        objective=objective,
        status=status,
        message=message,
        solver=solver,
        version=version,
        iterations=outcome.iterations,
        seconds=seconds,
        primal_residual=residuals[0],
        dual_residual=residuals[1],
        statistics=outcome.statistics,
    )


def run_in_worker(work: Callable[[], Outcome], stop: threading.Event) -> Outcome:
    """Run ``work`` in a thread of its own while this one listens for Ctrl-C.

    Extensions that release the interpreter lock but do not look at signals would otherwise hold Ctrl-C back until they
    are done. On KeyboardInterrupt ``stop`` is set, which ``work`` is to obey; if it has not ended after a few seconds,
    or at a second Ctrl-C, it is left behind (a daemon thread) and the result has no iterate. KeyboardInterrupt is not
    raised again: the status tells.
    """
    done: list[Outcome] = []
    # An event, since a join that Ctrl-C ends early may take the thread for finished (Python 3.11).
    finished = threading.Event()

    def target() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 (a Rust panic is no Exception, and must not vanish in a thread)
            done.append(failed(f"{type(error).__name__}: {error}"))
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
        try:
            finished.wait(GRACE_SECONDS)
        except KeyboardInterrupt:
            return interrupted()
    return done[0] if done else interrupted()


def solve_in_worker(
    program: LiftedProgram, data: ConicData, run: Callable[[threading.Event], Outcome], *, solver: str, start: float
) -> SolverResult:
    """``run`` in a worker, with its outcome mapped back; ``start`` is on the clock of ``time.perf_counter``."""
    stop = threading.Event()
    outcome = run_in_worker(lambda: run(stop), stop)
    return to_result(
        program,
        data,
        outcome,
        solver=solver,
        version=package_version(solver),
        seconds=time.perf_counter() - start,
    )
