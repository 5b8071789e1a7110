"""What training pays for the fitted values, and what its dual variables W earn.

With features f, weights ω and a convex function ℓ the loss of a moment matrix G is ``ℓ(ω∘G[f, v])``. Its dual term for
W (f×c) is ``−ℓ*(−W)``, a lower bound on ``ℓ(R) + ⟨W, R⟩`` for every R.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from formulations._validation import FloatArray, IntArray


class Loss(Protocol):
    """A convex loss of the fitted values ``R = ω∘G[f, v]`` (f×c).

    ``feature`` (f,) are distinct indices into φ = (α, β), ``weight`` (f,) is ω > 0, and ``target`` (f×c) is T. Another
    loss may read T in its own way, as long as W has its shape.
    """

    @property
    def feature(self) -> IntArray: ...
    @property
    def weight(self) -> FloatArray: ...
    @property
    def target(self) -> FloatArray: ...

    def value(self, fitted: FloatArray) -> float:
        """ℓ(R)."""

    def dual(self, fitted: FloatArray) -> FloatArray:
        """−∇ℓ(R): the W that a prediction offers."""

    def dual_value(self, W: FloatArray) -> float:
        """−ℓ*(−W)."""

    def best_scale(self, W: FloatArray) -> float:
        """The s of the largest dual value of sW; not positive, or NaN, where no positive s is better than 0."""

    def least_scale(self, W: FloatArray, goal: float) -> float | None:
        """The least s with a dual value of sW of at least ``goal``; None where there is none."""

    def rescaled(self, size: FloatArray, unit: float) -> "Loss":
        """``ℓ/unit²`` as a function of G[f, v] divided by ``size`` (f,), with targets and W divided by ``unit``."""

    def prox(self, array: Callable[[FloatArray], Any]) -> Callable[[Any, float], Any]:
        """(G, ρ) ↦ the minimiser of ``ℓ(ω∘P) + ρ/2 ‖P − G‖²`` over P; ``array`` makes numbers those of G's library."""


@dataclass(frozen=True, eq=False)
class SquaredLoss:
    """``½‖R − T‖_F²``; its dual value is ``⟨W,T⟩ − ½‖W‖²``. See ``Loss``."""

    feature: IntArray
    weight: FloatArray
    target: FloatArray

    def value(self, fitted: FloatArray) -> float:
        """½‖R − T‖²."""
        return 0.5 * float(np.sum((fitted - self.target) ** 2))

    def dual(self, fitted: FloatArray) -> FloatArray:
        """The residual T − R."""
        return self.target - fitted

    def dual_value(self, W: FloatArray) -> float:
        """⟨W,T⟩ − ½‖W‖²."""
        return float(np.sum(W * self.target) - 0.5 * np.sum(W**2))

    def best_scale(self, W: FloatArray) -> float:
        """⟨W,T⟩/‖W‖²."""
        square = float(np.sum(W**2))
        return float(np.sum(W * self.target)) / square if square > 0 else 0.0

    def least_scale(self, W: FloatArray, goal: float) -> float | None:
        """The smaller root of ``s⟨W,T⟩ − s²/2 ‖W‖² = goal``, written without cancellation."""
        alignment, square = float(np.sum(W * self.target)), float(np.sum(W**2))
        discriminant = alignment**2 - 2.0 * square * goal
        if not (discriminant > 0 and alignment > 0):
            return None
        return 2.0 * goal / (alignment + float(np.sqrt(discriminant)))

    def rescaled(self, size: FloatArray, unit: float) -> "SquaredLoss":
        """A squared loss again."""
        return SquaredLoss(self.feature, self.weight * size / unit, self.target / unit)

    def prox(self, array: Callable[[FloatArray], Any]) -> Callable[[Any, float], Any]:
        """Entrywise ``(ωT + ρG)/(ω² + ρ)``."""
        weight, pull = array(self.weight[:, None]), array(self.weight[:, None] * self.target)
        return lambda G, penalty: (pull + penalty * G) / (weight**2 + penalty)
