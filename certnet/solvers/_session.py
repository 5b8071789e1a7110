"""What the native solvers share: a clock, the checks that end a solve, and their version."""

import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

from certnet.runtime.numerics import FAILURES
from certnet.solvers._incumbent import Incumbent
from certnet.solvers.interface import Progress, SolverOptions, SolveStatus, State
from formulations import Dual, InputError, Program

FALLBACK_VERSION = "0.1.0"
LONG_INTERVAL = 8


def native_version() -> str:
    """Version of certnet, which is the version of its own solvers."""
    try:
        return installed_version("certnet")
    except PackageNotFoundError:
        return FALLBACK_VERSION


class Session:
    """Clock, stopping rules and best bound of one solve; one object for each call, so that threads never share it.

    A callback sees the best repaired bound so far. Duals are repaired at reports 1, 2, 4, …, 16, 24, 32, …: a repair
    costs as much as many steps of a first-order method, and a schedule by the clock would make results depend on it.
    """

    def __init__(self, program: Program, options: SolverOptions) -> None:
        self._program, self._options = program, options
        self._start = time.perf_counter()
        self._reports = 0
        self._foreign: Exception | None = None
        self.incumbent = Incumbent(program)

    def seconds(self) -> float:
        """Time since the solve began."""
        return time.perf_counter() - self._start

    def run(self, solve: Callable[[], SolveStatus]) -> SolveStatus:
        """How a solve ends: as it says, by Ctrl-C, or by a failure of its own, after which its last iterate counts."""
        try:
            return solve()
        except KeyboardInterrupt:
            return SolveStatus.INTERRUPTED
        except FAILURES as error:
            if not self.outlives(error):
                raise
            return SolveStatus.FAILED

    def out_of_time(self, ahead: float = 0.0) -> bool:
        """True when the time limit has passed, or will have passed ``ahead`` seconds from now."""
        limit = self._options.time_limit
        return limit is not None and self.seconds() + ahead >= limit

    def report(
        self,
        *,
        iteration: int,
        objective: float,
        primal_residual: float,
        dual_residual: float,
        rank: int,
        dual: Callable[[], Dual] | None = None,
        state: Callable[[], State] | None = None,
        violation: Callable[[], float] | None = None,
    ) -> SolveStatus | None:
        """Call the callback, if any; STOPPED when it asks for that.

        ``objective`` is in the program's own scale. ``dual`` gives the running dual, unless the solver itself offers
        what it has to the incumbent.
        """
        callback = self._options.callback
        if callback is None:
            return None
        self._reports += 1
        if dual is not None and _is_due(self._reports):
            self.incumbent.offer_repaired(dual())
        bound = self.incumbent.value
        progress = Progress(
            iteration=iteration,
            seconds=self.seconds(),
            objective=self._program.to_original(objective),
            primal_residual=primal_residual,
            dual_residual=dual_residual,
            rank=rank,
            dual=self.incumbent.copy,
            lower_bound=self._program.to_original(bound),
            state=state,
        )
        if violation is not None:
            progress = replace(progress, violation=violation)
        return SolveStatus.STOPPED if self.show(progress) else None

    def show(self, progress: Progress) -> bool:
        """Call the callback, if any; true when it asks to stop."""
        callback = self._options.callback
        try:
            return callback is not None and bool(callback(progress))
        except Exception as error:
            self._foreign = error
            raise

    def outlives(self, error: Exception) -> bool:
        """True for a failure of the solver's own; errors of the callback and of the input are the caller's."""
        return not (isinstance(error, InputError) or error is self._foreign)


def _is_due(report: int) -> bool:
    return report % LONG_INTERVAL == 0 or (report < LONG_INTERVAL and report & (report - 1) == 0)
