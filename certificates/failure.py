"""The one way in which a proof fails.

All that proves, checks or requires something, and all that long operations call, raises ``ProofFailure`` with the first
condition that is violated. Where more can be raised, its docstring says so.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

SMALLEST_LIMIT = 1e-3


class ProofFailure(Exception):  # noqa: N818 - a step of the proof that does not hold, not an error of the program
    """The first violated condition, as a sentence. It says nothing about the claim, only about its proof."""


def require(condition: bool | np.bool_, sentence: str) -> None:
    """Raise ``ProofFailure`` unless the condition is true."""
    if not condition:
        raise ProofFailure(sentence)


def require_arrays(holder: Any, kind: type, what: str = "", **shapes: tuple[int, ...]) -> None:
    """Raise ``ProofFailure`` unless attributes of an object are arrays of finite numbers of this type and shape.

    ``what`` stands before their names in a sentence.
    """
    for name, shape in shapes.items():
        array = getattr(holder, name)
        if not array.shape == shape:
            raise ProofFailure(f"{what}{name} has shape {array.shape} where {shape} is needed")
        if not array.dtype == kind:  # the name of a type takes microseconds
            raise ProofFailure(f"{what}{name} has type {array.dtype} where {np.dtype(kind)} is needed")
        require(np.isfinite(array).all(), f"{what}{name} holds a number that is not finite")


@dataclass(frozen=True)
class Deadline:
    """A moment on the clock of ``time.perf_counter`` after which something is given up."""

    moment: float = math.inf

    @classmethod
    def after(cls, seconds: float | None) -> "Deadline":
        """So many seconds from now; None means never."""
        return cls() if seconds is None else cls(time.perf_counter() + seconds)

    @property
    def left(self) -> float:
        """Seconds until then, at least 0."""
        return max(self.moment - time.perf_counter(), 0.0)

    @property
    def passed(self) -> bool:
        """Whether the moment has come."""
        return not self.left > 0

    @property
    def limit(self) -> float | None:
        """The same for whoever takes a positive time limit or None."""
        return None if self.moment == math.inf else max(self.left, SMALLEST_LIMIT)

    def check(self) -> None:
        """Raise ``ProofFailure`` once the moment has passed."""
        require(time.perf_counter() < self.moment, "the time limit was reached before the proof was complete")


NO_DEADLINE = Deadline()
