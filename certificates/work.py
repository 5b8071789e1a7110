"""What a check carries along: the arithmetic, the time, and the figures that it has found."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from certificates.arithmetic import MATRICES, Arithmetic, Matrix
from certificates.arithmetic.matrix import timed
from certificates.failure import Deadline, ProofFailure

BALL_ORDER = 250
"""Order up to which the automatic arithmetic goes from floating point to balls where the first fails."""
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

    def matrix(self, arithmetic: Arithmetic) -> type[Matrix]:
        """The matrices of an arithmetic, from now on the one that is used; their operations look at the clock."""
        self.used = arithmetic
        return timed(MATRICES[arithmetic], self.deadline)

    def proved(self, prove: Callable[[type[Matrix]], T], order: int) -> T:
        """What ``prove`` returns in the chosen arithmetic; auto is floating point, and balls where that fails.

        Raises:
            ProofFailure: as ``prove`` does.
        """
        if self.chosen is not Arithmetic.AUTO:
            return prove(self.matrix(self.chosen))
        try:
            return prove(self.matrix(Arithmetic.FLOAT))
        except ProofFailure:
            self.deadline.check()
            if order > BALL_ORDER:
                raise
        return prove(self.matrix(Arithmetic.BALL))
