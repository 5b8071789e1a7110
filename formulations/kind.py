"""What everything that trains, solves or searches asks a loss, row by row; the losses themselves are in ``losses``."""

from typing import ClassVar, Protocol

import numpy as np

from formulations._validation import FloatArray


class Kind(Protocol):
    """One of the losses of ``losses``; all methods take arrays (n×c) and are vectorised over rows.

    Attributes:
        name: without its parameter.
        targets: what y may be.
        couples: whether the columns of a row depend on one another.
        smoothing: ε of a loss that has kinks where it is not smoothed, None for others.
    """

    name: ClassVar[str]
    targets: ClassVar[str]
    couples: ClassVar[bool] = False
    smoothing: float | None = None

    @property
    def has_kinks(self) -> bool:
        """Whether it has kinks where it is not smoothed."""
        return self.smoothing is not None

    def value(self, f: FloatArray, y: FloatArray) -> FloatArray:
        """(n,) losses of the rows."""

    def dual(self, f: FloatArray, y: FloatArray) -> FloatArray:
        """W = −∇ℓ(f), in the domain of D."""

    def curvature(self, f: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(d, l), n×c each, with the Hessian ``diag(d) − l lᵀ`` of a row; l is zero where columns are apart."""

    def earned(self, w: FloatArray, y: FloatArray) -> FloatArray:
        """(n,) D of the rows; w is taken to be in the domain, up to rounding."""

    def fitted(self, w: FloatArray, y: FloatArray) -> FloatArray:
        """∇D(w), the f whose dual is w; infinite at the boundary of some domains."""

    def sharpness(self, w: FloatArray, y: FloatArray) -> FloatArray:
        """The diagonal of −∇²D(w), which is diagonal: for cross-entropy on the vectors whose sum is 0."""

    def limits(self, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(lower, upper), n×c each: the domain of D as a box; of cross-entropy together with ``Σ_k w_k = 0``."""


def project(kind: Kind, w: FloatArray, y: FloatArray) -> FloatArray:
    """w moved into the domain of D, in floating point: the nearest point, of rows of cross-entropy nearly so."""
    lower, upper = kind.limits(y)
    w = np.clip(w, lower, upper)
    if kind.couples:
        p = np.maximum(y - w, 0.0)
        p = np.where(p.any(axis=1, keepdims=True), p, 1.0)
        w = y - p / p.sum(axis=1, keepdims=True)
    return w
