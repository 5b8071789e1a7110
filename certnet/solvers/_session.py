"""What the native solvers share: a clock, the checks that end a solve, and their version."""

import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

from certnet.solvers.interface import Progress, SolverOptions, SolveStatus, State
from formulations import RawDual

FALLBACK_VERSION = "0.1.0"


def native_version() -> str:
    """Version of certnet, which is the version of its own solvers."""
    try:
        return installed_version("certnet")
    except PackageNotFoundError:
        return FALLBACK_VERSION


class Session:
    """Clock and stopping rules of one solve; one object for each call, so that threads never share it."""

    def __init__(self, options: SolverOptions) -> None:
        self._options = options
        self._start = time.perf_counter()

    def seconds(self) -> float:
        """Time since the solve began."""
        return time.perf_counter() - self._start

    def out_of_time(self) -> bool:
        """True when the time limit has passed."""
        limit = self._options.time_limit
        return limit is not None and self.seconds() >= limit

    def report(
        self,
        *,
        iteration: int,
        objective: float,
        primal_residual: float,
        dual_residual: float,
        rank: int,
        dual: Callable[[], RawDual],
        state: Callable[[], State] | None = None,
    ) -> SolveStatus | None:
        """Call the callback, if any; STOPPED when it asks for that."""
        callback = self._options.callback
        if callback is None:
            return None
        progress = Progress(
            iteration=iteration,
            seconds=self.seconds(),
            objective=objective,
            primal_residual=primal_residual,
            dual_residual=dual_residual,
            rank=rank,
            dual=dual,
            state=state,
        )
        return SolveStatus.STOPPED if callback(progress) else None
