"""What the solvers share: a clock, the ways in which a solve ends, and the best feasible dual seen so far."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from certificates.failure import Deadline
from certificates.making.repair import raw_dual, repair, repair_form
from certnet.runtime.numerics import FAILURES
from certnet.solvers.interface import Progress, SolverOptions, SolveStatus
from formulations import Dual, InputError, Program

ROUGH = 4
"""Reports after which a factor of the multipliers is looked for, too: before, that takes as long as all steps."""


def is_due(report: int) -> bool:
    """Duals are repaired at reports 1, 2, 4, 8, 16, 24, 32, …: a repair costs as much as many steps of a first-order
    method, and a schedule by the clock would make results depend on it."""
    return report % 8 == 0 or report in (1, 2, 4)


class Session:
    """Clock, stopping rules and best bound of one solve; one object for each call, so that threads never share it.

    The best feasible dual begins with zero for training, which is feasible and has the value 0; for a form with none.
    """

    def __init__(self, program: Program, options: SolverOptions) -> None:
        self._program, self._callback, self._repair = program, options.callback, options.repair
        self._start, self.deadline = time.perf_counter(), Deadline.after(options.time_limit)
        self._reports = 0
        self._foreign: Exception | None = None
        # Solves in groups never ask for it, and of 100,000 generators its N would have 300 GiB.
        zero = Dual(np.zeros(program.shape), np.broadcast_to(0.0, (program.positions, program.positions)))
        # Dual and value are replaced together.
        self._best = (zero, -np.inf if program.loss is None else 0.0)

    @property
    def dual(self) -> Dual:
        """The best feasible dual so far."""
        return self._best[0]

    @property
    def value(self) -> float:
        """Its value, in the program's own scale."""
        return self._best[1]

    def copy_dual(self) -> Dual:
        """A copy of the best dual."""
        return Dual(self.dual.W.copy(), self.dual.N.copy())

    def offer(self, dual: Dual, value: float) -> None:
        """Keep a dual that is feasible as it stands, if it is better; ``value`` in the program's own scale."""
        if value > self.value:
            self._best = (dual, value)

    def offer_repaired(self, dual: Dual, *, factors: bool = True) -> tuple[Dual, float]:
        """Keep what repair makes of any dual, if it is better; returns it with its value.

        ``factors``: look for a factor of its multipliers, which duals of an interior point hardly gain by.
        """
        program = self._program
        if self._repair is not None:
            feasible, value = self._repair(dual, factors=factors)
        elif program.loss is None:
            form = repair_form(program, dual, factors=factors)
            feasible = raw_dual(np.zeros(program.shape), form.N, form.t, gamma=1.0)
            value = 0.5 * form.delta
        else:
            found = repair(program, dual, factors=factors)
            feasible = raw_dual(found.W, found.N, found.t, gamma=program.gamma)
            value = program.dual_value(found.W)
        self.offer(feasible, value)
        return feasible, value

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
        return not self.deadline.left > ahead

    def report(self, *, objective: float, dual: Callable[[], Dual] | None = None, **figures: Any) -> bool:
        """Show the callback, if any, where the solve is and the best repaired bound; true when it asks to stop.

        Args:
            objective: in the program's own scale.
            dual: gives the running dual, unless the solver itself offers what it has.
            figures: the other fields of ``Progress``.
        """
        if self._callback is None:
            return False
        self._reports += 1
        if dual is not None and is_due(self._reports):
            self.offer_repaired(dual(), factors=self._reports > ROUGH)
        original = self._program.to_original
        figures |= {"objective": original(objective), "lower_bound": original(self.value)}
        return self.show(Progress(dual=self.copy_dual, **figures))

    def show(self, progress: Progress) -> bool:
        """Call the callback, if any; true when it asks to stop."""
        try:
            return self._callback is not None and bool(self._callback(progress))
        except Exception as error:
            self._foreign = error
            raise

    def outlives(self, error: BaseException) -> bool:
        """True for a failure of the solver's own; errors of the callback and of the input are the caller's."""
        return not (isinstance(error, InputError) or error is self._foreign)
