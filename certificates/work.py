"""What a check carries along: the arithmetic, the time, and the figures that it has found."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from certificates.arithmetic import MATRICES, Arithmetic, Matrix
from certificates.arithmetic.matrix import timed
from certificates.failure import Deadline, ProofFailure

BALL_ORDER, EXACT_ORDER = 2000, 80
"""Orders up to which the automatic arithmetic goes on to balls and to rational numbers where the one before fails."""
T = TypeVar("T")


@dataclass
class Work:
    """One check.

    Attributes:
        chosen: the arithmetic that was asked for.
        deadline: when to give up.
        used: the arithmetic that ran last.
        figures: fields of the report.
    """

    chosen: Arithmetic
    deadline: Deadline
    used: Arithmetic = field(init=False)
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.used = self.chosen

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
