"""What a check carries along: the arithmetic, the time, and the figures that it has found."""

from collections.abc import Callable
from typing import Any, TypeVar

from certificates.arithmetic import MATRICES, Arithmetic, Matrix
from certificates.arithmetic.matrix import timed
from certificates.failure import Deadline, ProofFailure

BALL_ORDER, EXACT_ORDER = 2000, 80
"""Orders up to which the automatic arithmetic goes on to balls and to rational numbers where the one before fails."""
T = TypeVar("T")


class Work:
    """One check: the arithmetic that was ``chosen``, the one ``used`` last, the ``deadline``, and the ``figures``
    that are fields of the report."""

    def __init__(self, chosen: Arithmetic, deadline: Deadline) -> None:
        self.chosen = self.used = chosen
        self.deadline = deadline
        self.figures: dict[str, Any] = {}

    def proved(self, prove: Callable[[type[Matrix]], T], order: float, *, exactly: bool = False) -> T:
        """What ``prove`` returns in the chosen arithmetic; auto is floating point, and where that fails balls, and
        where those fail as well rational numbers if ``exactly``."""
        stronger = {Arithmetic.BALL: BALL_ORDER, Arithmetic.EXACT: EXACT_ORDER if exactly else -1}
        tried = [Arithmetic.FLOAT, *(how for how, most in stronger.items() if order <= most)]
        tried = tried if self.chosen is Arithmetic.AUTO else [self.chosen]
        for self.used in tried:
            try:
                return prove(timed(MATRICES[self.used], self.deadline))
            except ProofFailure as failure:
                last = failure
            self.deadline.check()
        raise last
