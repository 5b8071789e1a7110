"""The one way in which a proof fails."""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALLEST_LIMIT = 1e-3


class ProofFailure(Exception):  # noqa: N818 - a step of the proof that does not hold, not an error of the program
    """The first violated condition, as a sentence. It says nothing about the claim, only about its proof."""


def require(condition: bool | np.bool_, sentence: str) -> None:
    """Raise ``ProofFailure`` unless the condition is true."""
    if not condition:
        raise ProofFailure(sentence)


def require_array(name: str, array: NDArray[Any], kind: type, shape: tuple[int, ...], *, finite: bool = True) -> None:
    """Raise ``ProofFailure`` unless an array has this type and shape and, if asked for, only finite numbers."""
    if not array.shape == shape:
        raise ProofFailure(f"{name} has shape {array.shape} where {shape} is needed")
    if not array.dtype == kind:  # the name of a type takes microseconds
        raise ProofFailure(f"{name} has type {array.dtype} where {np.dtype(kind)} is needed")
    require(not finite or np.isfinite(array).all(), f"{name} holds a number that is not finite")


def require_arrays(holder: Any, kind: type, what: str = "", **shapes: tuple[int, ...]) -> None:
    """The same of attributes of an object; ``what`` stands before their names in a sentence."""
    for name, shape in shapes.items():
        require_array(f"{what}{name}", getattr(holder, name), kind, shape)


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
