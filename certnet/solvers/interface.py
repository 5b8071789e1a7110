"""What every solver takes and gives back. Nothing in a result is a bound: repair and checker make bounds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from formulations import Dual, Primal, Program

State = Mapping[str, NDArray[Any]]
"""Arrays by name, no objects."""


def without_prefix(state: State, prefix: str) -> State:
    """The arrays whose names begin so, under the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}


WarmStart = tuple[Primal | None, Dual | None]
"""Primal and dual iterates in the coordinates of the program that is to be solved."""


class SolveStatus(Enum):
    """How a solver ended, as a sentence. A status is information, never a verdict."""

    CONVERGED = "The solver met its tolerance."
    INACCURATE = "The solver stopped before it met its tolerance; its last iterate is used."
    TIME_LIMIT = "The time limit was reached; the last iterate is used."
    ITERATION_LIMIT = "The iteration limit was reached; the last iterate is used."
    STOPPED = "The callback asked to stop; the last iterate is used."
    INTERRUPTED = "The solve was interrupted; the last iterate is used."
    FAILED = "The solver failed; its last finite iterate, if any, is used."


@dataclass(frozen=True, eq=False)
class Progress:
    """A look at a running solve; nothing is copied before it is asked for.

    Attributes:
        objective: value of the primal iterate in original units; not a bound.
        primal_residual, dual_residual: relative.
        lower_bound: the best repaired bound so far in original units.
        dual: copies the dual of that bound.
        iterate: copies the iterate, from which a later solve goes on as a warm start; None for solvers that show none.
        violation: how far the worst constraint that the solver has left out so far is violated, as a correlation (the
            objective belongs to a weaker relaxation then); always 0 for solvers that leave none out.
    """

    iteration: int
    objective: float
    primal_residual: float
    dual_residual: float
    rank: int
    dual: Callable[[], Dual]
    lower_bound: float = -np.inf
    iterate: Callable[[], WarmStart] | None = None
    violation: Callable[[], float] = lambda: 0.0


Callback = Callable[[Progress], bool | None]
"""Called now and then; a true return value stops the solve."""


class Repair(Protocol):
    """What makes a feasible dual of any, and its value in the program's own scale."""

    def __call__(self, dual: Dual, *, factors: bool) -> tuple[Dual, float]:
        """Repair a dual; a factor of its multipliers is looked for if ``factors``."""
        ...


@dataclass(frozen=True, eq=False)
class SolverOptions:
    """Options that every solver understands; what they mean says ``certnet.solve``."""

    time_limit: float | None = None
    tolerance: float = 1e-6
    max_iterations: int | None = None
    callback: Callback | None = None
    warm_start: WarmStart | None = None
    device: str = "cpu"
    repair: Repair | None = None


@dataclass(frozen=True, eq=False)
class SolverResult:
    """The last iterates of a solve, in the coordinates and scale of the program that was given.

    Attributes:
        primal, dual: last finite iterates; (None only if the solver produced none at all).
        objective: ``program.value`` of the primal iterate, or what the solver reports; not a bound.
        status, message: how it ended, and the solver's own words.
        solver, version: what really ran.
        primal_residual, dual_residual: relative, infinite when undefined.
        dual_value: of the dual, in the program's own scale, from solvers that keep a feasible one; NaN from others.
    """

    primal: Primal | None
    dual: Dual | None
    objective: float
    status: SolveStatus
    message: str
    solver: str
    version: str
    iterations: int
    seconds: float
    primal_residual: float = float("inf")
    dual_residual: float = float("inf")
    dual_value: float = float("nan")

    def uninterrupted(self) -> "SolverResult":
        """This result, for callers that do not look at the status.

        Raises:
            KeyboardInterrupt: Ctrl-C ended the solve, which the solver has only noted.
        """
        if self.status is SolveStatus.INTERRUPTED:
            raise KeyboardInterrupt
        return self


Solver = Callable[[Program, SolverOptions], SolverResult]
"""A solver behind ``certnet.solve``: solves the DNN relaxation and returns the last iterates, whatever happened."""
