"""Bounds from the relaxation alone: solve it for a while, and repair its duals."""

from collections.abc import Callable
from dataclasses import dataclass

from certificates.making.repair import RepairedDual
from certnet.jobs.certify import as_it_stands, repaired
from certnet.jobs.preflight import choose
from certnet.runtime.numerics import FAILURES
from certnet.solvers import Progress, SolveStatus, solve
from formulations import Presolved


@dataclass(frozen=True, eq=False)
class RelaxedBound:
    """The best repaired dual, why this solver, and whether Ctrl-C ended it."""

    dual: RepairedDual | None
    choice: str
    interrupted: bool


def relaxed_bound(
    presolved: Presolved,
    *,
    enough: float,
    time_limit: float | None,
    random_state: int,
    tell: Callable[[Progress], None],
) -> RelaxedBound:
    """The best dual of the relaxation that was found.

    Args:
        presolved: of the training program.
        enough: bound in original units at which to stop.
        time_limit: seconds, or None.
        random_state: seed.
        tell: called with every look at the solve.
    """
    merged, shown = presolved.rows, None
    name, choice = choose(merged, None, time_limit)

    def watch(progress: Progress) -> bool:
        nonlocal shown
        shown = progress
        tell(progress)
        return bool(progress.lower_bound >= enough)

    result = None
    try:
        result = solve(presolved.program, solver=name, time_limit=time_limit, callback=watch, seed=random_state)
    except FAILURES:
        if shown is None:
            raise
    duals = [] if result is None or result.dual is None else [repaired(merged, presolved.undo_dual(result.dual))]
    if shown is not None:
        duals.append(as_it_stands(merged, presolved.undo_dual(shown.dual())))
    best = max(duals, key=lambda dual: dual.lower_bound, default=None)
    return RelaxedBound(best, choice, result is not None and result.status is SolveStatus.INTERRUPTED)
