"""The best feasible dual seen so far: what a solve may return at any moment."""

import numpy as np

from certificates.making import repair
from certificates.making.repair import raw_dual, repair_form
from formulations import Dual, Program


class Incumbent:
    """Keeps the feasible dual of largest value; ``dual`` and ``value`` are replaced together.

    For training it begins with zero, which is feasible and has the value 0; for a form with nothing.
    """

    def __init__(self, program: Program) -> None:
        order = program.positions
        self._program = program
        value = -np.inf if program.loss is None else 0.0
        self._best = (Dual(np.zeros_like(program.target), np.zeros((order, order))), value)

    @property
    def dual(self) -> Dual:
        """The best dual."""
        return self._best[0]

    @property
    def value(self) -> float:
        """Its value, in the program's own scale."""
        return self._best[1]

    def copy(self) -> Dual:
        """A copy of the best dual."""
        return Dual(self.dual.W.copy(), self.dual.N.copy(), self.dual.on_equalities.copy())

    def offer(self, dual: Dual, value: float) -> None:
        """Keep a dual that is feasible as it stands, if it is better; ``value`` in the program's own scale."""
        if value > self.value:
            self._best = (dual, value)

    def offer_repaired(self, dual: Dual, *, nearly_feasible: bool = False) -> tuple[Dual, float]:
        """Keep what repair makes of any dual, if it is better; returns it with its value.

        A form's dual that is ``nearly_feasible`` is repaired without looking for a factor of its multipliers.
        """
        repaired = self._repair(dual, nearly_feasible)
        self.offer(*repaired)
        return repaired

    def _repair(self, dual: Dual, nearly_feasible: bool) -> tuple[Dual, float]:
        program = self._program
        if program.loss is None:
            form = repair_form(program, dual, scale_multipliers=not nearly_feasible)
            feasible = raw_dual(program.target, form.N, form.t, gamma=1.0, on_equalities=form.on_equalities)
            return feasible, 0.5 * form.delta
        repaired = repair(program, dual)
        feasible = raw_dual(repaired.W, repaired.N, repaired.t, gamma=program.gamma)
        return feasible, program.dual_value(repaired.W)
