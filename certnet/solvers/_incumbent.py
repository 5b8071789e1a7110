"""The best feasible dual seen so far: what a solve may return at any moment."""

import numpy as np

from certificates import repair
from certificates.repair import raw_dual
from formulations import LiftedProgram, RawDual


class Incumbent:
    """Keeps the feasible dual of largest value; ``dual`` and ``value`` are replaced together.

    It begins with zero, which is feasible and has the value 0.
    """

    def __init__(self, program: LiftedProgram) -> None:
        order = 2 * program.space.neurons
        self._program = program
        self._best = (RawDual(np.zeros_like(program.target), np.zeros((order, order))), 0.0)

    @property
    def dual(self) -> RawDual:
        """The best dual."""
        return self._best[0]

    @property
    def value(self) -> float:
        """Its value, in the program's own scale."""
        return self._best[1]

    def copy(self) -> RawDual:
        """A copy of the best dual."""
        return RawDual(self.dual.W.copy(), self.dual.N.copy())

    def offer(self, dual: RawDual) -> None:
        """Keep a dual that is feasible as it stands, if it is better."""
        value = self._program.dual_value(dual.W)
        if value > self.value:
            self._best = (dual, value)

    def offer_repaired(self, dual: RawDual) -> None:
        """Keep what repair makes of any dual, if it is better."""
        repaired = repair(self._program, dual)
        self.offer(raw_dual(repaired.W, repaired.N, repaired.t, gamma=self._program.gamma))
